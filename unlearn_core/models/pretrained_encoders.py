"""Pretrained encoders of other packages, frozen: torchvision and timm for pictures, sentence-transformers for texts.

Weights come from a file that the person names (safetensors only), or from where the package publishes them.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from unlearn_core.errors import BadInput
from unlearn_core.models import own
from unlearn_core.models.own_fit import NAMED
from unlearn_core.models.pretrained_features import Encode

BATCH = 64
SIDE = 224  # pixels that encoders of pictures were trained with
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, per colour
TIMM = "timm/"
HUB = "huggingface.co"


def pictures(name: str, file: str, side: int, device: str) -> Encode:
    """An encoder of pictures: torchvision's `name`, or timm's with "timm/" in front. side: pixels they are resized to, 0 for the usual.

    Grey pictures get three equal channels. Raises BadInput where the package, the architecture or the weights are not there.
    """
    body, mean, spread = _timm(name.removeprefix(TIMM), file) if name.startswith(TIMM) else _torchvision(name, file)
    body = body.to(device).eval().requires_grad_(False)
    shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, spread))

    @torch.no_grad()
    def encode(images: np.ndarray, progress: Callable[[float], None]) -> np.ndarray:
        found = []
        for part in _parts(images, progress):
            x = _coloured(torch.as_tensor(part, device=device), name)
            x = F.interpolate(x, size=(side or SIDE,) * 2, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
            found.append(body((x - shift) / scale).flatten(1).float().cpu().numpy())
        return np.concatenate(found)

    return encode


def texts(name: str, folder: str, device: str) -> Encode:
    """An encoder of texts: a name or folder that sentence-transformers understands. Raises BadInput where package or weights are not there."""
    package = _package("sentence_transformers")
    if folder and not _place(folder).is_dir():
        raise BadInput("file", f"there is no folder {folder!r}.", "Give the folder of a sentence encoder, or leave it empty.")
    barred = "" if folder else _barred(HUB)
    try:
        model = package.SentenceTransformer(
            str(_place(folder)) if folder else name,
            device=device,
            trust_remote_code=False,
            local_files_only=bool(folder or barred),
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise _unreachable(folder or name, barred or error) from None

    def encode(words: Sequence[str], progress: Callable[[float], None]) -> np.ndarray:
        return np.concatenate([
            np.asarray(model.encode(list(part), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False), np.float32)
            for part in _parts(words, progress)
        ])  # fmt: skip

    return encode


def _parts(items: Sequence[Any], progress: Callable[[float], None]) -> Iterator[Any]:
    for start in range(0, len(items), BATCH):
        progress(start / len(items))
        yield items[start : start + BATCH]


def _coloured(x: Tensor, name: str) -> Tensor:
    if x.shape[1] == 1:
        return x.expand(-1, 3, -1, -1)
    if x.shape[1] != 3:
        raise BadInput("model", f"{name} reads pictures with 1 or 3 channels, and these have {x.shape[1]}.", "Choose another model.")
    return x


def _torchvision(name: str, file: str) -> tuple[nn.Module, Any, Any]:
    models = _package("torchvision").models
    if name not in models.list_models(module=models):
        some = ", ".join(n for n in models.list_models(module=models) if n in ("resnet18", "resnet50", "mobilenet_v3_small", "vit_b_16"))
        raise BadInput(
            "encoder", f"torchvision has no classifier of pictures called {name!r}.", f"Choose for example {some}, or timm/NAME."
        )
    if file:
        state = None
    else:
        given = models.get_model_weights(name).DEFAULT
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(given.url).name
        if not cached.exists() and (barred := _barred(urlsplit(given.url).hostname)):
            raise _unreachable(name, barred)
        try:
            state = given.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:  # no connection; another content than the published one
            raise _unreachable(name, error) from None
    body = models.get_model(name, weights=None)
    head = next(path for path, module in reversed(list(body.named_modules())) if isinstance(module, nn.Linear))
    parent, _, last = head.rpartition(".")
    setattr(body.get_submodule(parent), last, nn.Identity())
    _load(body, head, state, file, name)
    return body, MEAN, SPREAD


def _timm(name: str, file: str) -> tuple[nn.Module, Any, Any]:
    timm = _package("timm")
    if not timm.is_model(name):
        raise BadInput("encoder", f"timm has no model called {name!r}.", "Choose one of timm.list_models().")
    body = timm.create_model(name, pretrained=False, num_classes=0)
    about = body.pretrained_cfg
    _load(body, about.get("classifier") or "head", None, file or _from_hub(name, about.get("hf_hub_id")), name)
    return body, about.get("mean") or MEAN, about.get("std") or SPREAD


def _from_hub(name: str, place: str | None) -> str:
    """Weights that timm publishes, as safetensors; what it would load by itself may be a pickle."""
    from huggingface_hub import hf_hub_download

    if not place:
        raise _unreachable(name, "timm names no place that publishes them")
    barred = _barred(HUB)
    try:
        return hf_hub_download(place, "model.safetensors", local_files_only=bool(barred))
    except (OSError, ValueError) as error:
        raise _unreachable(name, barred or error) from None


def _load(body: nn.Module, head: str, state: dict[str, Tensor] | None, file: str, name: str) -> None:
    """Weights into the body; those of the classifier `head`, which is not used, are left out. Raises BadInput for a file that does not fit."""
    if state is None:
        path = _place(file)
        own.read(path)
        state = load_file(path)
    state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    wanted = {key: tuple(value.shape) for key, value in body.state_dict().items() if not key.startswith(f"{head}.")}
    amiss = [key for key in {**wanted, **state} if key not in state or key not in wanted or tuple(state[key].shape) != wanted[key]]
    if amiss:
        raise BadInput(
            "file", f"the weights do not fit {name}: {', '.join(amiss[:NAMED])} and {max(len(amiss) - NAMED, 0)} more.", "Name its encoder."
        )
    body.load_state_dict(state, strict=False)


def _place(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:  # ~ of somebody unknown
        raise BadInput("file", f"there is no {named!r} on this machine.", "Give the whole path.") from None


def _package(name: str) -> Any:
    """An optional package. Raises BadInput with the command that installs it."""
    from unlearn_core.models.pretrained import lacking

    if reason := lacking(name):
        raise BadInput("model", reason, "Or choose another model.")
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package that was built for another torch fails in its own way
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(
            "model",
            f"the package {name} is installed but does not load: {told[0][:200]}",
            f"Install the build of it that fits torch {torch.__version__}.",
        ) from None


def _barred(host: str) -> str:
    """Why nothing can be fetched from `host`, "" if it may work. Asked first, since the packages try for half a minute."""
    if os.environ.get("UNLEARN_OFFLINE") == "1":
        return "UNLEARN_OFFLINE forbids downloads"
    if getproxies() or "HF_ENDPOINT" in os.environ:
        return ""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return f"no connection to {host}"
    return ""


def _unreachable(name: str, cause: object) -> BadInput:
    told = str(cause).strip().splitlines()
    return BadInput(
        "encoder",
        f"the weights of {name!r} are not on this machine and could not be fetched ({told[0][:200] if told else type(cause).__name__}).",
        "Connect to the internet, or name a file or folder that holds them.",
    )
