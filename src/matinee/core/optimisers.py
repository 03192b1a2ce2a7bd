"""Optimisers by name, with the parameters sorted into groups.

Weight decay falls on matrices and filters alone, never on biases and the parameters of normalisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, overload

import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError
from matinee.core.train_settings import OPTIMISERS

NAMES: Final = OPTIMISERS
HEAD: Final = "head."
"""Parameters under this name turn features into outputs; Muon leaves them to AdamW."""
REST_SHARE: Final = 0.1
"""AdamW's rate for what Muon leaves aside, as a share of Muon's own: their steps have different units."""
HEAD_SHARE: Final = 1.8
VECTOR_SHARE: Final = 110.0
"""The same for SGD: head and vectors, for the mean loss of some 512 examples and logits scaled by 1/9."""
SGD_MOMENTUM: Final = 0.85

_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration; they push every singular value into about 0.7 .. 1.2 within five steps."""


def build(
    name: str,
    network: nn.Module,
    *,
    rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    precision: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """The optimiser called `name` for the parameters of `network` that are trained.

    `rate` is the learning rate: a step is about `rate` times the gradient for sgd, `rate` in each number for the Adam
    family and rmsprop, `rate` in each singular value for muon. `weight_decay` is L2 for sgd, adam and rmsprop, and
    decoupled (each step shrinks by rate x weight_decay) for adamw and muon; with muon-unit only the head shrinks.
    `momentum` is beta 1 for adam and adamw. `precision` is the number format of muon's own matrix products.

    Where nothing is left to train, one that moves nothing. Raises SettingsError for an unknown name.
    """
    if name not in NAMES:
        raise SettingsError(f"--optimiser {name}: the optimisers are {', '.join(NAMES)}.")
    named = [(key, parameter) for key, parameter in network.named_parameters() if parameter.requires_grad]
    if not named:
        return SGD([torch.empty(0, requires_grad=True)], lr=0.0)
    # Every group costs a call a step, so without weight decay there is one.
    decayed = [parameter for _, parameter in named if parameter.ndim > 1 or not weight_decay]
    spared = [parameter for _, parameter in named if parameter.ndim <= 1 and weight_decay]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point() for _, parameter in named)
    optimiser: torch.optim.Optimizer
    if name == "sgd":
        optimiser = SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=fused)
    elif name == "adam":
        optimiser = Adam(groups, lr=rate, betas=(momentum, 0.999), fused=fused)
    elif name == "adamw":
        optimiser = AdamW(groups, lr=rate, betas=(momentum, 0.999), fused=fused)
    elif name == "rmsprop":
        optimiser = RMSprop(groups, lr=rate, momentum=momentum, foreach=True)
    elif name == "muon":
        optimiser = Muon(_muon_groups(named, rate, weight_decay), momentum=momentum, precision=precision)
    else:
        groups = _unit_groups(named, rate, weight_decay)
        optimiser = Muon(groups, momentum=momentum, iterations=3, precision=precision)
    return optimiser


def _muon_groups(named: list[tuple[str, nn.Parameter]], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Hidden matrices and filters for Muon; the head's with decay and all vectors without, for AdamW."""
    hidden, head, vectors = _sorted(named)
    groups: list[dict[str, Any]] = [
        {"params": hidden, "lr": rate, "weight_decay": weight_decay, "rule": "orthogonal"},
        {"params": head, "lr": rate * REST_SHARE, "weight_decay": weight_decay, "rule": "adamw"},
        {"params": vectors, "lr": rate * REST_SHARE, "weight_decay": 0.0, "rule": "adamw"},
    ]
    return [group for group in groups if group["params"]]


def _unit_groups(named: list[tuple[str, nn.Parameter]], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Hidden matrices and filters for Muon at unit scale, the rest for SGD: as airbench94 does it."""
    hidden, head, vectors = _sorted(named)
    groups: list[dict[str, Any]] = [
        {"params": hidden, "lr": rate, "rule": "unit"},
        {"params": head, "lr": rate * HEAD_SHARE, "weight_decay": weight_decay, "rule": "sgd"},
        {"params": vectors, "lr": rate * VECTOR_SHARE, "rule": "sgd"},
    ]
    return [group for group in groups if group["params"]]


def _sorted(named: list[tuple[str, nn.Parameter]]) -> tuple[list[nn.Parameter], ...]:
    """Hidden matrices and filters, those of the head, vectors."""
    hidden = [parameter for key, parameter in named if parameter.ndim > 1 and not key.startswith(HEAD)]
    head = [parameter for key, parameter in named if parameter.ndim > 1 and key.startswith(HEAD)]
    return hidden, head, [parameter for _, parameter in named if parameter.ndim <= 1]


class Uncompiled(torch.optim.Optimizer):
    """As torch's, without the import of its compiler, which takes as long as that of torch and which nothing here uses.

    torch wraps these methods, and every `step`, to keep them out of compiled code.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class SGD(Uncompiled, torch.optim.SGD):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(Uncompiled, torch.optim.Adam):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(Uncompiled, torch.optim.AdamW):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class RMSprop(Uncompiled, torch.optim.RMSprop):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.RMSprop.step))


class Muon(Uncompiled):
    """Momentum whose matrices are made orthogonal before each step; AdamW for all other parameters.

    After "Muon: An optimizer for hidden layers in neural networks" (Keller Jordan and others, 2024,
    https://kellerjordan.github.io/posts/muon/). Groups say by what rule: "orthogonal", for parameters of two or more
    dimensions, taken as matrices (first dimension x all others); "unit", the same for those that a normalisation
    follows, which are brought to the norm of an orthogonal matrix before each step; "adamw", with betas 0.9 and 0.99;
    "sgd", with Nesterov momentum 0.85. Weight decay is decoupled in all.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float = 0.9,
        iterations: int = 5,
        precision: torch.dtype = torch.float32,
    ) -> None:
        defaults = {
            "lr": 0.02,
            "weight_decay": 0.0,
            "momentum": momentum,
            "iterations": iterations,
            "rule": "orthogonal",
        }
        super().__init__(groups, defaults)
        self.precision = precision  # of the machine, so no part of the state

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; with `closure` the loss is computed by it first, and returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            if group["rule"] == "adamw":
                for count, members in self._by_steps(parameters).items():
                    self._adamw_step(members, group, count)
            elif group["rule"] == "sgd":
                self._sgd_step(parameters, group)
            else:
                self._orthogonal_step(parameters, group)
        return loss

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        gradients = [_gradient(parameter) for parameter in parameters]
        averages = [self._state(parameter, "momentum_buffer") for parameter in parameters]
        torch._foreach_mul_(averages, momentum)
        torch._foreach_add_(averages, gradients)
        # Nesterov: the gradient and what the momentum will be.
        updates = torch._foreach_add(gradients, averages, alpha=momentum)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        if group["rule"] == "unit":
            for parameter, norm in zip(parameters, torch._foreach_norm(parameters), strict=True):
                parameter.mul_(parameter.shape[0] ** 0.5 / norm.clamp(min=1e-7))
        shapes: dict[tuple[int, int], list[int]] = {}
        for index, parameter in enumerate(parameters):
            shapes.setdefault((parameter.shape[0], parameter[0].numel()), []).append(index)
        for (rows, columns), members in shapes.items():
            # One batched product for all matrices of a shape: far fewer, larger operations.
            stack = torch.stack([updates[index].reshape(rows, columns) for index in members])
            stack = orthogonalise(stack, group["iterations"], self.precision)
            scale = -rate * max(1.0, rows / columns) ** 0.5
            for index, update in zip(members, stack, strict=True):
                parameters[index].add_(update.reshape(parameters[index].shape), alpha=scale)

    def _sgd_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        averages = [self._state(parameter, "momentum_buffer") for parameter in parameters]
        torch._foreach_mul_(averages, SGD_MOMENTUM)
        torch._foreach_add_(averages, gradients)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, gradients, alpha=-group["lr"])
        torch._foreach_add_(parameters, averages, alpha=-group["lr"] * SGD_MOMENTUM)

    def _by_steps(self, parameters: list[Tensor]) -> dict[int, list[Tensor]]:
        """The parameters by how many steps they have taken, this one included: some may have been frozen before."""
        counts: dict[int, list[Tensor]] = {}
        for parameter in parameters:
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            counts.setdefault(state["step"], []).append(parameter)
        return counts

    def _adamw_step(self, parameters: list[Tensor], group: dict[str, Any], count: int) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        means = [self._state(parameter, "exp_avg") for parameter in parameters]
        squares = [self._state(parameter, "exp_avg_sq") for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1 - 0.9)
        torch._foreach_mul_(squares, 0.99)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - 0.99)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        sizes = torch._foreach_sqrt(squares)
        torch._foreach_div_(sizes, (1 - 0.99**count) ** 0.5)
        torch._foreach_add_(sizes, 1e-8)
        torch._foreach_addcdiv_(parameters, means, sizes, -group["lr"] / (1 - 0.9**count))

    def _state(self, parameter: Tensor, name: str) -> Tensor:
        """The buffer of that name for a parameter, zeros at first."""
        state: dict[str, Tensor] = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state[name]


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter without gradient was passed to an optimiser's step")
    return parameter.grad


def orthogonalise(matrices: Tensor, iterations: int = 5, precision: torch.dtype = torch.float32) -> Tensor:
    """About the nearest matrices (B, rows, columns) with orthonormal rows, or columns where there are more rows.

    Newton-Schulz iteration with the quintic of Keller Jordan (2024), in the number format `precision`; bfloat16 is near
    enough. Singular values come out between about 0.7 and 1.2, which is near enough for a step.
    """
    first, third, fifth = _NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    current = matrices.mT if tall else matrices
    current = current / (current.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    current = current.to(precision).contiguous()
    for _ in range(iterations):
        gram = current @ current.mT
        combined = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        current = torch.baddbmm(current, combined, current, beta=first)
    current = current.to(matrices.dtype)
    return current.mT if tall else current
