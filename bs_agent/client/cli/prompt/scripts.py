"""Completion for bash, zsh and fish: a small script for each asks `bs-cli complete SHELL` what may come next.

The line travels on standard input, so nothing of it shows in a list of processes.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from bs_agent.client.cli.prompt.lexing import SHELL_SPECIALS, escape, split

if TYPE_CHECKING:
    from bs_agent.contract.api import Api

MAX_LINE = 64 * 1024

SCRIPTS = {
    "bash": r"""# bs-cli completion for bash: eval "$(bs-cli completion bash)"
_bs_cli() {
    local IFS=$'\n'
    COMPREPLY=($(printf '%s\n%s' "$2" "${COMP_LINE:0:COMP_POINT}" | bs-cli complete bash 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *' ' ]] || compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 1 ]] && COMPREPLY=("${COMPREPLY[0]% }")
}
complete -F _bs_cli bs-cli
""",
    "zsh": r"""#compdef bs-cli
# bs-cli completion for zsh: eval "$(bs-cli completion zsh)", behind compinit
alias bs-cli='noglob bs-cli'
_bs_cli() {
    local line word note
    local -a ending open ending_notes open_notes
    while IFS= read -r line; do
        word=${line%%$'\t'*} note=${line#*$'\t'}
        if [[ $word == *' ' ]]; then
            ending+=("${word% }"); ending_notes+=("${word% }${note:+  -- $note}")
        else
            open+=("$word"); open_notes+=("$word${note:+  -- $note}")
        fi
    done < <(print -rn -- "${LBUFFER}" | command bs-cli complete zsh 2>/dev/null)
    (( $#ending )) && compadd -Q -l -d ending_notes -- "${ending[@]}"
    (( $#open )) && compadd -Q -S '' -d open_notes -- "${open[@]}"
}
compdef _bs_cli bs-cli
""",
    "fish": r"""# bs-cli completion for fish: bs-cli completion fish | source
function __bs_cli
    commandline -cp | command bs-cli complete fish 2>/dev/null
end
complete -c bs-cli -f -a '(__bs_cli)'
""",
}


def run(words: Sequence[str], options: Mapping[str, bool]) -> int:
    """Print the script of a shell, or (`complete`) what may come next on the line that is on standard input.

    `options` are those of the program, each with whether a value follows.
    """
    match words:
        case ["completion", shell] if shell in SCRIPTS:
            click.echo(SCRIPTS[shell], nl=False)
        case ["complete", shell] if shell in SCRIPTS:
            for line in candidates(shell, sys.stdin.read(MAX_LINE), options):
                click.echo(line)
        case _:
            raise click.ClickException(f"write `bs-cli {words[0]} SHELL`; SHELL is one of {', '.join(SCRIPTS)}")
    return 0


def candidates(shell: str, text: str, options: Mapping[str, bool]) -> Iterator[str]:
    """Yield the words that the current one may become, as the shell's script wants them.

    bash passes what it takes for the current word on a line of its own: it splits at `=` and `:` too, and wants only
    what stands behind.
    """
    from bs_agent.client.cli.prompt.completion import Completion, Offer, complete  # noqa: PLC0415  the scripts need no contract

    tail, _, text = text.partition("\n") if shell == "bash" else ("", "", text)
    line = split(text.rstrip("\n"))
    if line.current.startswith("-"):
        fitting = [name for name in options if name.startswith(line.current)]
        completion = Completion("", [Offer(name, "Options", ends=True) for name in fitting])
    else:
        words = _without_options(line.words[1:], options)
        completion = complete(words, line.current, _existing)
    begun = len(line.current) - len(split(tail).current) if shell == "bash" else 0
    for offer in completion.offers:
        word = completion.stem + offer.label
        if not word.startswith(line.current[:begun]):
            continue
        shown = word if shell == "fish" else escape(word[begun:], SHELL_SPECIALS)
        space = " " if offer.ends and shell != "fish" else ""
        yield shown + space + ("" if shell == "bash" else f"\t{offer.note}")


def _existing(api: "Api", field: str, typed: str) -> Sequence[tuple[str, str]]:
    """Ask the management node; what speaks with it is imported only here, for Tab shall be quick."""
    from bs_agent.client.cli.execute import Options, kept_session  # noqa: PLC0415
    from bs_agent.client.cli.prompt.lookup import Lookup  # noqa: PLC0415

    return Lookup(lambda: Options().client(kept_session()))(api, field, typed)


def _without_options(words: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    kept: list[str] = []
    following = iter(words)
    for word in following:
        if not word.startswith("--"):
            kept.append(word)
        elif options.get(word):
            next(following, None)
    return kept
