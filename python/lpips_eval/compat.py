"""Takes the place of the package `lpips` where images are evaluated, not trained on.

    loss_fn = lpips_eval.compat.LPIPS(net="alex")
    distance = loss_fn(img0, img1)      # (N, 3, H, W), from -1 to 1  ->  (N, 1, 1, 1)
"""

from __future__ import annotations

from typing import Any

from ._errors import ShapeError, UsageError
from ._scorer import Score, Scorer


class LPIPS:
    """Called as `lpips.LPIPS`, with the same arguments, shapes and values.

    Images are tensors of PyTorch or arrays of NumPy, (N, 3, height, width), RGB, from -1 to 1, or from 0 to
    1 with `normalize=True`; an image of a batch of 1 is compared with each image of the other batch. What
    comes back is float32, of the kind and on the device of the first argument.

    Other than `lpips.LPIPS`, it refuses samples outside of the range and images of two sizes, it computes no
    gradients, and it scores on `device`, wherever the tensors are: `"auto"` is a GPU if one works.

    Args:
        net: `"alex"`, `"vgg"` or `"squeeze"`.
        version: `"0.1"` or `"0.0"`.
        lpips: False sums over channels without the lin weights.
        spatial: a call returns maps, (N, 1, height, width), instead of distances.
        model_path: a checkpoint with lin weights of another training.
        device, precision: see `lpips_eval.Scorer`.
    """

    def __init__(
        self,
        pretrained: bool = True,
        net: str = "alex",
        version: str = "0.1",
        lpips: bool = True,
        spatial: bool = False,
        pnet_rand: bool = False,
        pnet_tune: bool = False,
        use_dropout: bool = True,
        model_path: str | None = None,
        eval_mode: bool = True,
        verbose: bool = True,
        *,
        device: str = "auto",
        precision: str = "fp32",
    ) -> None:
        for name, given, only in [
            ("pretrained", pretrained, True),
            ("pnet_rand", pnet_rand, False),
            ("pnet_tune", pnet_tune, False),
            ("eval_mode", eval_mode, True),
        ]:
            if given != only:
                raise UsageError(
                    f"{name}={given} is for training, which this class does not do",
                    "use `lpips.LPIPS` of the package lpips",
                )
        self.spatial = spatial
        self._keywords: dict[str, Any] = {
            "net": {"vgg16": "vgg"}.get(net, net),
            "version": version,
            "baseline": not lpips,
            "spatial": spatial,
            "lin": model_path,
            "precision": precision,
        }
        self._scorer = Scorer(device=device, **self._keywords)

    def __call__(self, in0: Any, in1: Any, retPerLayer: bool = False, normalize: bool = False) -> Any:
        """The distance or map of each pair; with `retPerLayer` also a list with those of each layer."""
        pairs = _pairs(_images("in0", in0), _images("in1", in1))
        scores = self._scorer.score_all(pairs, (0, 1) if normalize else (-1, 1))
        found = [score.map if self.spatial else score.total for score in scores]
        total = _like(in0, found, pixels=self.spatial)
        if not retPerLayer:
            return total
        layers = zip(
            *(score.layer_maps_in_pixels() if self.spatial else score.layers for score in scores)
        )
        return total, [_like(in0, list(layer), pixels=self.spatial) for layer in layers]

    forward = __call__

    def to(self, device: Any) -> LPIPS:
        """Scores on another device from now on: `"cpu"`, `"cuda"` or `"cuda:1"`."""
        self._scorer = Scorer(device=str(device), **self._keywords)
        return self

    def cuda(self, device: int | None = None) -> LPIPS:
        """Scores on a GPU from now on."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def cpu(self) -> LPIPS:
        """Scores on the CPU from now on."""
        return self.to("cpu")

    def eval(self) -> LPIPS:
        """Does nothing: this class only evaluates."""
        return self

    def __repr__(self) -> str:
        return f"LPIPS({self._scorer!r})"


def _images(name: str, batch: Any) -> list[Any]:
    """The images of a batch as views, (height, width, 3)."""
    if getattr(batch, "requires_grad", False):
        import torch

        if torch.is_grad_enabled():
            raise UsageError(
                f"lpips_eval computes no gradients, and {name} requires one",
                "train with `lpips.LPIPS`; to evaluate, pass `x.detach()` or use `torch.no_grad()`",
            )
        batch = batch.detach()
    shape = tuple(batch.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise ShapeError(f"{name} has the shape {list(shape)}, expected [N, 3, height, width]")
    if _is_tensor(batch):
        return list(batch.cpu().float().permute(0, 2, 3, 1))
    return list(batch.transpose(0, 2, 3, 1))


def _pairs(first: list[Any], second: list[Any]) -> list[tuple[Any, Any]]:
    count = max(len(first), len(second))
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ShapeError(f"{len(first)} images are compared with {len(second)}")
    return [(first[index % len(first)], second[index % len(second)]) for index in range(count)]


def _like(batch: Any, values: list[Any], pixels: bool = False) -> Any:
    """Values of each pair as float32 of the kind of `batch`."""
    import numpy

    array = numpy.asarray(values, numpy.float32)
    array = array[:, None] if pixels else array[:, None, None, None]
    if not _is_tensor(batch):
        return array
    import torch

    return torch.from_numpy(array).to(batch.device)


def _is_tensor(batch: Any) -> bool:
    return type(batch).__module__.partition(".")[0] == "torch"
