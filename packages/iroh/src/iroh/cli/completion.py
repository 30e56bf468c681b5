"""`iroh completion SHELL`: completion for bash, zsh and fish, written from the parser itself.

    bash    eval "$(iroh completion bash)"
    zsh     eval "$(iroh completion zsh)"
    fish    iroh completion fish | source

What is completed: commands, their options, the choices of an option, and else files.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.parser import build_parser

__all__ = ["run"]


@dataclass
class _Node:
    """A command: its words after `iroh`, what may follow."""

    words: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print it."""
    nodes = list(_nodes(build_parser(), ()))
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    script = writers[options.shell](nodes)
    console.result("completion", script, shell=options.shell, script=script)
    return exits.DONE


def _nodes(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[_Node]:
    node = _Node(words)
    below: list[Iterator[_Node]] = []
    for action in parser._actions:  # noqa: SLF001 (argparse has no public way to ask)
        for name in action.option_strings:
            node.options[name] = (action.help or "").partition(";")[0].partition(" (")[0]
            if action.choices:
                node.choices[name] = tuple(map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            for name, child in action.choices.items():
                node.commands[name] = helps.get(name, "").partition(";")[0]
                below.append(_nodes(child, (*words, name)))
        elif not action.option_strings and action.choices:
            node.commands |= dict.fromkeys(map(str, action.choices), "")
    yield node
    for children in below:
        yield from children


_BASH = """\
_iroh() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" path="" each
    for each in "${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}"; do
        case "$path $each" in
{paths}
        esac
    done
    case "$path $before" in
{choices}
    esac
    case "$path" in
{words}
    esac
}}
complete -o default -F _iroh iroh"""


def _bash(nodes: list[_Node]) -> str:
    paths, choices, words = [], [], []
    for node in nodes:
        path = "".join(f" {word}" for word in node.words)
        if node.words:
            paths.append(f'            "{path}") path="{path}" ;;')
        for option, values in node.choices.items():
            reply = f'COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$word")); return'
            choices.append(f'        "{path} {option}") {reply} ;;')
        known = " ".join([*node.commands, *node.options])
        words.append(f'        "{path}") COMPREPLY=($(compgen -W "{known}" -- "$word")) ;;')
    lines = {"paths": paths, "choices": choices, "words": words}
    return _BASH.format(**{key: "\n".join(value) for key, value in lines.items()})


def _zsh(nodes: list[_Node]) -> str:
    """zsh runs bash's completion functions."""
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(nodes)


def _fish(nodes: list[_Node]) -> str:
    lines = []
    for node in nodes:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in node.words)
        others = " ".join(node.commands)
        none = f"not __fish_seen_subcommand_from {others}" if others else ""
        here = "; and ".join(filter(None, (seen, none if not node.words else seen and none)))
        for name, text in node.commands.items():
            lines.append(f"complete -c iroh -f -n {_quoted(here)} -a {name} -d {_quoted(text)}")
        for option, text in node.options.items():
            kind = "-l" if option.startswith("--") else "-s"
            line = f"complete -c iroh -n {_quoted(seen or none)} {kind} {option.lstrip('-')}"
            if option in node.choices:
                line += f" -x -a {_quoted(' '.join(node.choices[option]))}"
            lines.append(f"{line} -d {_quoted(text)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
