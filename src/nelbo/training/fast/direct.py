r"""The gradients of the default objectives, written out: a step without autograd.

What is computed is what `VAE.terms`, `objective.ELBO` and `objective.DReG` say, and tests hold both
together; here it is said again with its derivatives. Recording a graph of a small net and walking
back costs as much as the arithmetic itself, and twice what is below. Everything else (other heads,
networks and objectives, hooks, GPUs, where none of this was measured) goes through autograd.

With :math:`z_k = \mu + \sigma \epsilon_k`, where p(z) is standard normal, the terms of z in
:math:`-\log w_k` are :math:`\tfrac12 (z_k^2 - \epsilon_k^2) - \log \sigma`. DReG (Tucker et al.,
2019) gives the decoder the gradient of IWAE, :math:`\tilde w_k \nabla \log p(x \mid z_k)`, and the
encoder :math:`\tilde w_k^2` times the derivative along the path of z, in which :math:`\mu` and
:math:`\sigma` inside of q count as constant.
"""

from __future__ import annotations

__all__ = ["Direct"]

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.modules.module import _has_any_global_hook

from ...distributions import LOG_2PI
from ...networks.residual import bend
from ...objective.elbo import noisy
from ...posterior import SMALLEST_STD
from .known import Known, Layers, taken_apart

aten = torch.ops.aten
Gradient = Callable[[Tensor | float], Tensor]


class Direct:
    """A step of an objective whose gradients are known here:
    call it with rows, and it leaves them in ``grad``.
    """

    def __init__(self, known: Known) -> None:
        self.weighs, self.samples = known.weighs, known.samples
        self.values = math.prod(known.shape)
        self.log_variance, self.floor = known.log_variance, known.floor
        self.input_noise = known.input_noise
        self.encoder, self.decoder = _Passes(known.encoder), _Passes(known.decoder)

    @classmethod
    def of(cls, objective: nn.Module, device: torch.device) -> Direct | None:
        """Return the step of an objective, or None where autograd is needed."""
        if device.type != "cpu" or torch.is_autocast_enabled("cpu") or not _is_plain(objective):
            return None
        known = taken_apart(objective)
        return None if known is None else cls(known)

    @torch.no_grad()
    def __call__(
        self, x: Tensor, generator: torch.Generator, low: torch.dtype | None = None
    ) -> Tensor:
        """Return the bound of each row of x (n, *shape),
        and leave the gradients of minus their mean behind.

        Arguments:
            x: Rows, as the model takes them.
            generator: Source of the noise of z, and of what the encoder sees.
            low: What the networks' products are computed in, None for what the weights are.
        """
        rows = len(x)
        x = x.flatten(1)
        seen = x
        if self.input_noise:
            seen = noisy(x, self.input_noise, generator)
        h = self.encoder.forward(seen, low)
        loc, raw = h.chunk(2, -1)
        # softplus and sigmoid of values with gaps between them take several times as long
        raw = raw.contiguous()
        width = softplus(raw)
        scale = width.clamp_min(SMALLEST_STD)
        shape = loc.shape if self.samples == 1 else (self.samples, *loc.shape)
        noise = torch.randn(shape, generator=generator, dtype=loc.dtype)
        z = torch.addcmul(loc, scale, noise)
        out = self.decoder.forward(z.reshape(-1, z.shape[-1]), low)
        log_lik, gradient = self.log_lik(x, out)
        if self.weighs:
            z, noise = z.view(-1, *loc.shape), noise.view(-1, *loc.shape)
            log_weight = (noise.square() - z.square()).sum(-1).div_(2).add_(scale.log().sum(-1))
            log_weight += log_lik.view(log_weight.shape)
            bound = log_weight.logsumexp(0) - math.log(self.samples)
            share = log_weight.softmax(0)
            to_z = self.decoder.backward(gradient(share.flatten() / rows), low).view(z.shape)
            share = share.unsqueeze(-1)
            to_z = torch.addcmul(to_z, z - noise / scale, share, value=1 / rows).mul_(share)
            to_loc, to_scale = to_z.sum(0), (to_z * noise).sum(0)
        else:
            kl = (
                torch.addcmul(scale.square(), loc, loc)
                .sub_(scale.log(), alpha=2)
                .sum(-1)
                .sub_(loc.shape[-1])
            )
            bound = log_lik.sub_(kl, alpha=0.5)
            to_z = self.decoder.backward(gradient(1 / rows), low)
            to_loc = torch.add(to_z, loc, alpha=1 / rows)
            to_scale = torch.addcmul((scale - scale.reciprocal()).div_(rows), to_z, noise)
        to_raw = aten.threshold_backward(to_scale.mul_(raw.sigmoid()), width, SMALLEST_STD)
        self.encoder.backward(torch.cat((to_loc, to_raw), -1), low, inputs=False)
        return bound

    def log_lik(self, x: Tensor, out: Tensor) -> tuple[Tensor, Gradient]:
        """Return log p(x|z),
        and the gradient of the decoder's outputs as a function of what each is to weigh.

        Arguments:
            x: Rows (n, D).
            out: The decoder's outputs (k * n, D or 2 * D), in as many blocks as there are samples.
        """
        if self.log_variance is not None:
            return self.log_lik_of_one(x, out, self.log_variance)
        loc, raw = out.chunk(2, -1)
        raw = raw.contiguous()
        scale = softplus(raw).add_(self.floor**0.5)
        residual = (loc.view(-1, *x.shape) - x).view(scale.shape).div_(scale)
        square = residual.square()
        log_lik = square.mul(0.5).add_(scale.log()).sum(-1).add_(0.5 * LOG_2PI * self.values).neg_()

        def gradient(share: Tensor | float) -> Tensor:
            slope = scale.reciprocal_().mul_(
                share if isinstance(share, float) else share.unsqueeze(-1)
            )
            to_loc = residual.mul_(slope)
            return torch.cat((to_loc, square.neg_().add_(1).mul_(slope).mul_(raw.sigmoid())), -1)

        return log_lik, gradient

    def log_lik_of_one(
        self, x: Tensor, out: Tensor, log_variance: Tensor
    ) -> tuple[Tensor, Gradient]:
        """Return the same for one variance, whose gradient is left behind."""
        residual = out.view(-1, *x.shape).sub_(x).view(out.shape)
        square = residual.square().sum(-1)
        precision = (-log_variance).exp().item()
        log_lik = square.mul(-0.5 * precision).sub_(
            0.5 * self.values * (LOG_2PI + log_variance.item())
        )

        def gradient(share: Tensor | float) -> Tensor:
            total = square.sum() * share if isinstance(share, float) else square.dot(share)
            if log_variance.requires_grad:
                log_variance.grad = (
                    total.mul_(-0.5 * precision).add_(0.5 * self.values).to(log_variance.dtype)
                )
            return residual.mul_(
                share * precision if isinstance(share, float) else (share * precision).unsqueeze(-1)
            )

        return log_lik, gradient


class _Passes:
    """The passes of a linear, a plain or a residual net, forward and back,
    over rows (n, features).
    """

    def __init__(self, network: Layers) -> None:
        self.layers, self.activations, self.residual = network
        self.inputs: list[Tensor] = []
        self.before: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.none = torch.empty(0)
        self.x, self.bend = self.none, self.none

    def forward(self, x: Tensor, low: torch.dtype | None) -> Tensor:
        """Return the outputs for rows x, and keep what `backward` needs."""
        h = x
        if self.residual is not None:
            self.bend = bend(x)
            h = x * self.bend
        self.x = x = x if low is None else x.to(low)
        h = h if low is None else h.to(low)
        for i, layer in enumerate(self.layers):
            weight: Tensor = layer.weight
            bias: Tensor = layer.bias
            if i == len(self.layers) - 1 and self.residual is not None:
                bias = bias + self.residual.bias
            if low is not None:
                weight, bias = weight.to(low), bias.to(low)
            self.weights.append(weight)
            self.inputs.append(h)
            h = torch.addmm(bias, h, weight.t())
            if i < len(self.activations):
                self.before.append(h)
                h = self.activations[i].forward(h)
        if self.residual is not None:
            weight = self.residual.weight if low is None else self.residual.weight.to(low)
            self.weights.append(weight)
            h.addmm_(x, weight.t())
        return h if low is None else h.float()

    def backward(self, gradient: Tensor, low: torch.dtype | None, inputs: bool = True) -> Tensor:
        """Leave the gradients of the weights behind, and return that of the rows,
        if it is wanted.
        """
        top = gradient = gradient if low is None else gradient.to(low)
        for i in reversed(range(len(self.layers))):
            self.keep(self.layers[i], gradient, self.inputs[i])
            if not i and not inputs:
                break
            gradient = gradient.mm(self.weights[i])
            if i:
                gradient = self.activations[i - 1].backward(
                    gradient, self.before[i - 1], self.inputs[i]
                )
        if self.residual is not None:
            self.keep(self.residual, top, self.x)
            if inputs:
                gradient = torch.addcmul(
                    top.mm(self.weights[-1]).to(self.bend.dtype),
                    gradient,
                    self.bend * self.bend * self.bend,
                )
        self.inputs, self.before, self.weights, self.x, self.bend = [], [], [], self.none, self.none
        return gradient if low is None else gradient.float()

    def keep(self, layer: nn.Linear, gradient: Tensor, inputs: Tensor) -> None:
        """Leave the gradients of a layer behind, those of its outputs and its inputs given."""
        for parameter, found in ((layer.weight, gradient.t().mm), (layer.bias, None)):
            if parameter.requires_grad:
                total: Tensor = gradient.sum(0) if found is None else found(inputs)
                parameter.grad = total.to(parameter.dtype)


def _is_plain(objective: nn.Module) -> bool:
    """Return whether modules do what their classes say:
    no hooks, nothing replaced, nothing used twice.
    """
    modules, parameters = list(objective.modules()), list(objective.parameters())
    return (
        not _has_any_global_hook()
        and not any(map(_is_changed, modules))
        and not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters)
        and any(p.requires_grad for p in parameters)
        # the fused optimiser takes no notice of strides
        and all(p.is_contiguous() for p in parameters)
        and len(modules) == len(list(objective.named_modules(remove_duplicate=False)))
        and len(parameters) == len(list(objective.named_parameters(remove_duplicate=False)))
    )


def _is_changed(module: nn.Module) -> bool:
    """Return whether a module has hooks, or methods or weights that are not its class's."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    replaced = vars(module).keys() & {"forward", "encode", "decode", "terms", "terms_at"}
    return any(hooks) or bool(replaced) or hasattr(module, "parametrizations")
