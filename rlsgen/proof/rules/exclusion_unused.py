"""An exclusion in the spec fits no finding.

What it was for has been mended, or is called otherwise. Take it out, so that it excludes nothing later by accident.
"""

from __future__ import annotations

from rlsgen.proof.finding import Rule, Severity

RULE = Rule.described("exclusion-unused", Severity.notice, __doc__)
