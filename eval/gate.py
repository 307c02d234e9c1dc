"""Whether another embedding model may take the place of the present one: nothing it answers may be worse."""

from __future__ import annotations

from eval.cases import Dataset
from eval.compare import compare_records
from eval.run import ask_all
from index import View
from service.answer import AnswerPolicy


def compare_models(dataset: Dataset, present: View, beside: View, policy: AnswerPolicy) -> str:
    """Ask all cases on both sides, as users would; return what got worse beyond chance, or nothing."""
    before, after = (ask_all(dataset, view, policy) for view in (present, beside))
    worse = [each for each in compare_records(before, after).differences if each.worse]
    return ", ".join(f"{each.measure} {each.old:.3f} -> {each.new:.3f}" for each in worse)
