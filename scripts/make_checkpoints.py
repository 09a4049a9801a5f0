#!/usr/bin/env python3
"""Make the small checkpoints of tests/data/checkpoints with the packages that write real ones.

    python3 -m venv .venv
    .venv/bin/pip install torch torchvision lpips==0.1.4 torchmetrics
    .venv/bin/python scripts/make_checkpoints.py [--dir tests/data/checkpoints]

Names, shapes and file formats are those of the packages. Every tensor is one number, repeated by a
stride of 0, so that a trunk takes a few kilobytes: the k-th tensor of a state dict, counted from 1, is
k / 1024 (the constants of the scaling layer are real, and lin layers that are registered twice are equal).
"""

import argparse
import collections
import os

import lpips
import torch
import torchmetrics.functional.image.lpips as tm
import torchvision


def flat(module):
    """The module's state dict with every tensor made of one number."""
    state = collections.OrderedDict()
    seen = {}
    for k, (name, tensor) in enumerate(module.state_dict().items(), 1):
        if name.startswith("scaling_layer"):
            state[name] = tensor.clone()
            continue
        # Parameters that are registered twice share their memory.
        k = seen.setdefault(tensor.data_ptr(), k)
        state[name] = torch.tensor(k / 1024).expand(tensor.shape)
    return state


class Harmful:
    """Runs a command in whatever unpickles it."""

    def __reduce__(self):
        return (os.system, ("touch harmed",))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--dir", default=os.path.join(here, "tests/data/checkpoints"))
    folder = parser.parse_args().dir
    os.makedirs(folder, exist_ok=True)

    def save(name, value, old=False):
        path = os.path.join(folder, name)
        torch.save(value, path, _use_new_zipfile_serialization=not old)

    def metric(net, **options):
        return lpips.LPIPS(pretrained=False, pnet_rand=True, net=net, verbose=False, **options)

    models = torchvision.models
    save("torchvision_vgg16.pth", flat(models.vgg16(weights=None)))
    save("torchvision_alexnet_old.pth", flat(models.alexnet(weights=None)), old=True)
    save("torchvision_squeezenet_features.pth", flat(models.squeezenet1_1(weights=None).features))
    save("torchvision_vgg19.pth", flat(models.vgg19(weights=None)))
    save("lpips_squeeze.pth", flat(metric("squeeze")))
    # pyiqa saves under `params`, and some of its files were written without dropout.
    save("pyiqa_alex.pth", {"params": flat(metric("alex", use_dropout=False)), "epoch": 3})
    save("torchmetrics_squeeze.pth", flat(tm._LPIPS(pretrained=False, net="squeeze", pnet_rand=True)))
    lins = {name: value for name, value in flat(metric("vgg")).items() if name.startswith("lin")}
    save("lin_vgg_old.pth", {n: v for n, v in lins.items() if not n.startswith("lins")}, old=True)
    # 8 GiB if it were read; the other name of the layer makes a reader compare the two.
    huge = torch.tensor(1.0).expand(1, 1 << 30, 1, 2)
    save("huge_lin.pth", {"lin0.model.1.weight": huge, "lins.0.model.1.weight": huge})
    harmful = flat(models.alexnet(weights=None))
    harmful["harm"] = Harmful()
    save("harmful_alexnet.pth", harmful)
    save("harmful_alexnet_old.pth", harmful, old=True)


if __name__ == "__main__":
    main()
