"""What stands below the help of each command: how it is typed."""

__all__ = ["EXAMPLES"]

EXAMPLES = {
    "": """\
examples:
  iroh listen > received                here: one end of a pipe; prints a ticket
  echo hello | iroh connect TICKET      there: open it
  iroh send photos                      here: share a folder; prints a ticket
  iroh recv TICKET                      there: get it
  iroh send --help                      more of a command
""",
    "id": """\
examples:
  iroh id --secret-file my.key              make a key, or read it; print its id
  iroh id --format z32 ID                   the id as DNS has it
""",
    "show": """\
examples:
  iroh ticket show TICKET
  iroh send photos | iroh ticket show -
  iroh --json ticket show @ticket.txt
""",
    "make": """\
examples:
  iroh ticket make ID --addr 192.0.2.1:4433
  iroh ticket make --secret-file my.key --relay https://relay.example.org
""",
    "listen": """\
examples:
  iroh listen > received
  tar c photos | iroh listen
  iroh listen --tcp localhost:22 --secret-file my.key --allow ID
""",
    "connect": """\
examples:
  echo hello | iroh connect TICKET
  iroh connect @ticket.txt | tar x
  iroh connect --tcp localhost:2222 --reconnect TICKET
""",
    "send": """\
examples:
  iroh send photos letter.txt
  iroh send --once --allow ID photos
  iroh -q send photos > ticket.txt
""",
    "recv": """\
examples:
  iroh recv TICKET
  iroh recv --output inbox --rename @ticket.txt
""",
    "ping": """\
examples:
  iroh ping TICKET
  iroh ping --count 0 --until-direct TICKET
  iroh ping --listen
""",
    "doctor": """\
examples:
  iroh doctor
  iroh doctor TICKET
  iroh doctor --relay https://relay.example.org
""",
    "relay": """\
examples:
  iroh relay --dev
  iroh relay --help
""",
    "dns": """\
examples:
  iroh dns --help
""",
    "completion": """\
examples:
  eval "$(iroh completion bash)"
  eval "$(iroh completion zsh)"
  iroh completion fish | source
""",
}
