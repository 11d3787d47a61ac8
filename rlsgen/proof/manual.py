"""The reference of all rules as Markdown, from their docstrings: `python -m rlsgen.proof.manual > docs/lint.md`."""

from __future__ import annotations

import sys
import textwrap

from rlsgen.proof.finding import Rule
from rlsgen.proof.rules import RULES

_HEAD = """\
# Lint: what would defeat the spec

`rlsgen lint` reads a live database's catalog, in one snapshot, and says what on it would defeat `policies.yaml`, or
already does. It needs no rows, no conversation, and changes nothing.

```console
$ rlsgen lint                                     # text; a table on a terminal
$ rlsgen lint --format sarif > lint.sarif         # or json, github, junit
$ rlsgen lint --severity error                    # errors alone
$ rlsgen lint --explain policy-altered            # what a rule is about
```

| severity | meaning |
|---|---|
| error | rows or values of others can be reached, or conversations cannot work |
| warning | one more mistake makes it an error, or it leaks a little, or it costs much |
| notice | worth knowing |

Exit codes: 0 nothing at or above `--severity` (by default warning), 1 failed, 3 findings. Everything that `rlsgen
plan` would change is a finding of some rule, so lint is silent only where the plan is empty.

Where a finding is right and accepted, the spec says so, with a reason and if possible a day on which to look again:

```yaml
lint:
  ignore:
    - {rule: unique-without-tenant, object: public.templates, why: template ids are no secret, until: 2027-01-31}
```

**Who lints.** The role that runs `rlsgen apply` sees everything. Another one needs USAGE on schema `rlsgen` and
SELECT on its two tables (which `foundation` then names: accept it); what it cannot see, the rule `unseen` says.

**What lint cannot know.** It compares what is there with what rlsgen made. It does not run statements as a
conversation; `rlsgen verify` does. Of functions of yours it compares those that a policy calls, not what they call.
What both say of more than 200 broken databases is in [mutants.md](mutants.md).

## The rules

"""


def manual() -> str:
    """The whole page. It is written by this module, not by hand."""
    rows = [f"| [{rule.id}](#{rule.id}) | {rule.severity} | {_inline(rule.title)} |" for rule in RULES]
    table = "\n".join(["| rule | severity | |", "|---|---|---|", *rows])
    return _HEAD + table + "\n\n" + "\n".join(_section(rule) for rule in RULES)


def explanation(rule: Rule) -> str:
    """One rule, for a terminal."""
    return f"{rule.id} ({rule.severity})\n{rule.title}\n\n{rule.explanation}\n"


def _section(rule: Rule) -> str:
    paragraphs = [" ".join(each.split("\n")) for each in rule.explanation.split("\n\n") if each]
    body = "\n\n".join(textwrap.fill(each, 140, break_on_hyphens=False) for each in paragraphs)
    return f"### {rule.id}\n\n*{rule.severity}.* {rule.title}\n\n{body}\n"


def _inline(text: str) -> str:
    return text.rstrip(".")


if __name__ == "__main__":
    sys.stdout.write(manual())
