"""What the network lets us do: can UDP leave, what is our public address, which relay is near?

    reporter    when a report is made, and who is told           NetReporter
    run         one report: which probes, and when it is enough   run_report
    draft       what the probes said so far, and the rules        Draft        no I/O
    home        which relay is home, with hysteresis              HomeChoice   no I/O
    live        the real probes, over the endpoint's own sockets  LiveProbes
    qad         a QUIC connection to a relay that tells our address
    http        a relay's latency over HTTP, and captive portals
    report, config   what users see

Only the last line is imported with this package; the rest comes when there is a relay to ask.
"""

from .config import NetReportConfig
from .report import Probe, Report

__all__ = ["NetReportConfig", "Probe", "Report"]
