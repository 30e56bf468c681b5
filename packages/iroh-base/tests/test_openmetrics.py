"""Counters as text, as iroh-metrics writes them."""

from iroh_base.openmetrics import Metric, document, openmetrics


def test_counters_gauges_and_the_end() -> None:
    text = document(
        openmetrics(
            "relayserver",
            [
                Metric("accepts", 12, "Number of client connections accepted."),
                Metric("bytes_rx_ratelimited_total", 3, "Bytes"),
                Metric("clients", 2, "Clients now?", is_gauge=True),
            ],
        ),
        openmetrics("other", [Metric("x", 2**63, 'a\\b\n"c"')]),
    )
    assert text.splitlines() == [
        "# HELP relayserver_accepts Number of client connections accepted.",
        "# TYPE relayserver_accepts counter",
        "relayserver_accepts_total 12",
        "# HELP relayserver_bytes_rx_ratelimited_total Bytes.",
        "# TYPE relayserver_bytes_rx_ratelimited_total counter",
        "relayserver_bytes_rx_ratelimited_total 3",
        "# HELP relayserver_clients Clients now?",
        "# TYPE relayserver_clients gauge",
        "relayserver_clients 2",
        '# HELP other_x a\\\\b\\n"c".',
        "# TYPE other_x counter",
        f"other_x_total {2**63}",
        "# EOF",
    ]
    assert text.endswith("# EOF\n")


def test_nothing_is_still_a_document() -> None:
    assert document() == "# EOF\n"


def test_values_that_differ_in_their_labels_stand_together() -> None:
    metrics = [
        Metric("hits", number, "Hits", labels=(("who", who),))
        for number, who in enumerate(("a", 'say "b"\\n', "two\nlines"))
    ]
    assert openmetrics("group", metrics) == (
        "# HELP group_hits Hits.\n"
        "# TYPE group_hits counter\n"
        'group_hits_total{who="a"} 0\n'
        'group_hits_total{who="say \\"b\\"\\\\n"} 1\n'
        'group_hits_total{who="two\\nlines"} 2\n'
    )
