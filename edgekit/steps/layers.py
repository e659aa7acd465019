"""Names of layers, and the rules that recipes have for them."""

import re

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.graph import Operator, Subgraph
from edgekit.core.model import Model
from edgekit.core.recipe import LayerRule


def layer_name(subgraph: Subgraph, operator: Operator) -> str:
    """A layer's name: that of its first output tensor."""
    return subgraph.tensors[operator.outputs[0]].name if operator.outputs else operator.name


def refuse_idle_rules(model: Model, rules: tuple[LayerRule, ...]) -> None:
    """A rule that matches nothing is a typo, and the layer it meant would be changed after all.

    Raises:
        EdgekitError: Names the rule.
    """
    names = [layer_name(subgraph, operator) for subgraph, operator in model.graph.operators()]
    for rule in rules:
        if not any(re.search(rule.match, name) for name in names):
            raise EdgekitError(f"no layer's name matches the recipe's rule match = '{rule.match}'",
                               did_you_mean(rule.match, names[:200]))
