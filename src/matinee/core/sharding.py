"""A network whose weights, gradients and optimiser state are spread over the processes: FSDP (Zhao et al., 2023).

Each process holds its part of every tensor along the first dimension; whole layers exist only while they compute.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECE = 2**20  # numbers in a part of the network that is worth gathering by itself
OPTIMISERS = ("sgd", "adam", "adamw")


def check(optimiser: str, l1: float) -> None:
    """Raises SettingsError for what needs whole matrices, and where torch is too old."""
    if l1:
        raise SettingsError("--l1: this does not go with --parallel sharded. Use --weight-decay.")
    if optimiser not in OPTIMISERS:
        raise SettingsError(
            f"--parallel sharded: {optimiser} looks at whole matrices, and no process has one. "
            f"Choose --optimiser {', '.join(OPTIMISERS[:-1])} or {OPTIMISERS[-1]}."
        )
    try:
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError:
        raise SettingsError("--parallel sharded: this needs PyTorch 2.6 or newer.") from None


def shard(network: nn.Module, device: torch.device) -> None:
    """Spread a network over the processes, in place: layer by layer, so that no device ever holds all of it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    for module in _worth(network):
        fully_shard(module, mesh=mesh)
    # Whole only while it computes: between two calls the running average and scoring look at the parts.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
    network.to(device)


def _worth(network: nn.Module) -> list[nn.Module]:
    """Disjoint parts of the network, the smallest that are large enough to gather by themselves; inner ones first."""
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> int:
        """How many numbers of a module are not yet in a part."""
        open_ = sum(p.numel() for p in module.parameters(recurse=False))
        open_ += sum(visit(child) for child in module.children())
        if open_ < PIECE or module is network or isinstance(module, nn.ModuleList | nn.ModuleDict):
            return open_
        found.append(module)
        return 0

    visit(network)
    return found


def is_sharded(network: nn.Module) -> bool:
    """Whether this process holds only a part of the weights: then every process must call it equally often."""
    return any(_spread(p) for p in network.parameters())


def _spread(tensor: Tensor) -> bool:
    if "torch.distributed.tensor" not in sys.modules:  # then there can be none, and importing it takes time
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all processes in it; they must all ask."""
    value: Any = tensor.detach()
    full: Tensor = value.full_tensor() if _spread(tensor) else value
    return full


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """What a process holds of a whole tensor where it holds `like`; without a word to the others."""
    if not _spread(like):
        return full
    from torch.distributed.tensor import DTensor

    held: Any = like
    rank, count = held.device_mesh.get_local_rank(), held.device_mesh.size()
    chunks = full.to(held.device).chunk(count)
    local = chunks[rank] if rank < len(chunks) else full[:0].to(held.device)
    return DTensor.from_local(
        local.clone(), held.device_mesh, held.placements, run_check=False, shape=held.shape, stride=held.stride()
    )


def put(target: Tensor, full: Tensor) -> None:
    """Copy a whole tensor, or this process's part of it, into place. Raises ValueError where the shapes differ."""
    if target.shape != full.shape:
        raise ValueError(f"{tuple(full.shape)} where {tuple(target.shape)} is wanted")
    with torch.no_grad():
        target.copy_(part_of(full, target))


def local(tensor: Any) -> Any:
    """What this process holds of a tensor, in the same memory."""
    return tensor.to_local() if _spread(tensor) else tensor


def unsharded(network: nn.Module, plain: nn.Module, keep: bool) -> nn.Module:
    """`plain` with the whole weights of a sharded network, on the processor, where `keep`; all processes must ask."""
    targets: Mapping[str, Tensor] = plain.state_dict()
    for name, tensor in network.state_dict().items():
        full = whole(tensor)
        if keep:
            put(targets[name], full)
    return plain
