"""verify: what conversations see on a live database, against what the spec says that they should see."""

from rlsgen.proof.verify.result import AttackResult, Note, TableResult, Uncovered, VerifyResult
from rlsgen.proof.verify.run import Options, verify

__all__ = ["AttackResult", "Note", "Options", "TableResult", "Uncovered", "VerifyResult", "verify"]
