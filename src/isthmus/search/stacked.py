"""Training of models with the same architecture in one program over stacked weights.

A single run draws its random numbers from one generator in a fixed order: initial weights,
validation rows, and in each epoch the order of the rows, then for each step the corruption of the
input and the noise of the posterior. The same sequence is drawn here for each model before the
program runs, so that each model trains as in its own `fit`.

Reference: functorch, JAX-like composable function transforms for PyTorch
(He, Zou, 2021), now `torch.func`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor
from torch.func import functional_call, stack_module_state, vmap

from isthmus.objectives.objective import Objective, StepInputs, Terms
from isthmus.objectives.schedules import SETTLED
from isthmus.registry import build_objective
from isthmus.search.candidates import Candidate, CandidateRun
from isthmus.search.stacked_adam import StackedAdam, lay_out
from isthmus.training import Rows
from isthmus.training.devices import flush_denormals
from isthmus.training.functional_step import (
    CompiledStep,
    Gradients,
    Program,
    compute_gradients,
)
from isthmus.training.optimizers import fast_scales, faster
from isthmus.training.schedules import learning_rate, n_epochs, n_patience
from isthmus.training.trainer import warn_diverged
from isthmus.training.weight_average import WeightAverage

__all__ = ["StackedRun"]

LEAST_EVALUATION = 512  # rows per batch of evaluation, as in Trainer


@dataclass(eq=False)
class _Member:
    """A candidate within the stack, with its objective, training rows and validation rows."""

    candidate: Candidate
    objective: Objective
    kept: Rows  # of row indices
    held: Rows | None

    @classmethod
    def of(cls, c: Candidate, train: Rows, valid: Rows | None, start: int) -> _Member:
        """Return a member whose rows begin at `start` among those of the stack."""
        kept = _numbers(train, start)
        held = None if valid is None else _numbers(valid, start + len(train))
        n_batches = len(kept.sizes(c.estimator.batch_size))
        return cls(c, build_objective(c.estimator, len(kept), n_batches), kept, held)

    def shuffled(self) -> Tensor:
        """Return the row indices of an epoch in order, (n,)."""
        ((order, _),) = self.kept.batches(len(self.kept), self.candidate.generator)
        return order

    def row_weights(self, n: int) -> Tensor:
        """Return the sample weights of n rows, of mean 1 in training and in validation."""
        out = torch.zeros(n, device=self.kept.device)
        for part in (self.kept, self.held):
            if part is not None:
                assert part.weights is not None
                out[part.x] = part.weights
        return out


class StackedRun(CandidateRun):
    """Train prepared candidates that differ only in the settings STACKABLE, on the same data."""

    rows: Rows

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        # Adjacent models with one learning rate are updated together by the optimizer.
        self.candidates = sorted(
            candidates, key=lambda c: (c.estimator.learning_rate, c.estimator.weight_decay)
        )
        self.step = self.epoch = 0
        self.members: list[_Member] = []

    def _begin(self) -> None:
        live = [c for c in self.candidates if c.live]
        self.rows, self.members = _join(live)
        models = [Program(c.estimator.model_) for c in live]
        weights, buffers = stack_module_state(models)
        self.weights = {k: lay_out(w.detach()).requires_grad_() for k, w in weights.items()}
        # Buffers are constants, computed from the training rows: the same ones are kept once.
        self.buffers = {k: b if (b != b[:1]).any() else b[0] for k, b in buffers.items()}
        self.buffer_axes = {k: 0 if self.buffers[k] is b else None for k, b in buffers.items()}
        self.program = Program(copy.deepcopy(live[0].estimator.model_)).eval()
        self.best = {k: w.detach().clone() for k, w in self.weights.items()}
        self.optimizer = StackedAdam(list(self.weights.values()), [c.estimator for c in live])
        self.average = WeightAverage(list(self.weights.values()), live[0].estimator.ema)
        self.row = {c: i for i, c in enumerate(live)}
        self._update_members()

    def _update_members(self) -> None:
        """Update what the members share, after members have left."""
        first = self.members[0]
        self.settings, self.shared = first.candidate.estimator, first.objective
        fast = fast_scales(self.settings.model_, self.shared)
        self.scales = [self.weights[f"model.{name}"] for name in fast]
        self.held = first.held is not None
        self.code = self.settings.n_components_ if self.settings.model_.posterior.draws else None
        objectives = [m.objective for m in self.members]
        hides = self.rows.c is not None and any(o.condition_dropout for o in objectives)
        self.draws = hides or bool(self.shared.observe or self.shared.corruption)
        self.penalty_weights = torch.tensor(
            [[p.weight for p in o.penalties] for o in objectives],  # type: ignore[attr-defined]
            device=self.rows.x.device,
        )
        self.compute_gradients: Callable[..., Gradients] = self._compute_gradients
        if self.settings.compile:
            full = self.members[0].kept.sizes(self.settings.batch_size)[0]
            warm_up = max(m.objective.warm_up for m in self.members)
            self.compute_gradients = CompiledStep(
                self._compute_gradients,
                wanted=lambda weights, beta, x, *others: (
                    x.shape[1] == full and self.step >= warm_up
                ),
            )
        weighted = self.rows.weights is not None
        self.row_weights = (
            torch.stack([m.row_weights(len(self.rows)) for m in self.members]) if weighted else None
        )
        if self.held:
            self.held_out = torch.stack([m.held.x for m in self.members if m.held])

    def advance(self, share: float) -> None:
        """Train up to a fraction of the epochs; members that stop early leave before."""
        if not self.members and any(c.live for c in self.candidates):
            self._begin()
        while self.members and self.epoch < math.ceil(share * self.n_epochs):
            self._one_epoch()
            self._leave()

    def _one_epoch(self) -> None:
        start = time.perf_counter()
        self.average.hide()
        with flush_denormals():
            n = len(self.members[0].kept)
            means = _columns(self._train(n) / n)
            seconds = (time.perf_counter() - start) / len(self.members)
            self.average.show()
            held = _columns(self._evaluate()) if self.held else [{}] * len(self.members)
        self.epoch += 1
        share = (time.perf_counter() - start) / len(self.members)
        rate = {"seconds": seconds, "examples_per_second": n / seconds}
        whole = self._finite()
        better = []
        for i, m in enumerate(self.members):
            valid = {f"valid_{k}": v for k, v in held[i].items()}
            record = {"epoch": self.epoch, **means[i], **valid, **rate}
            m.candidate.seconds += share
            if not whole[i] or not all(math.isfinite(v) for v in record.values()):
                warn_diverged(record, m.candidate.best_epoch, stacklevel=6)
                m.candidate.end("diverged")
            elif m.candidate.offer(record, self.held):
                better.append(i)
        self._keep_best(better)

    def _train(self, n: int) -> Tensor:
        """Update on every batch; return the sums of the terms, (terms, models)."""
        order = torch.stack([m.shuffled() for m in self.members])
        generators = [m.candidate.generator for m in self.members]
        sums = order.new_zeros(len(Terms._fields), len(order), dtype=torch.float32)
        weights = list(self.weights.values())
        batches = order.split(self.members[0].kept.sizes(self.settings.batch_size), 1)
        n_steps = self.n_epochs * len(batches)  # planned
        for number, index in enumerate(batches):
            shown, noise = self._batch(index, generators)
            gradients, terms = self.compute_gradients(
                self.step, weights, self._beta(self.step), *shown, noise
            )
            progress = min(1.0, (self.epoch * len(batches) + number) / n_steps)
            rate = partial(learning_rate, step=self.step, n_batches=len(batches), progress=progress)
            with faster(self.scales):
                self.optimizer.step(gradients, rate)
            self.step += 1
            self.average.update(self.step)
            sums += index.shape[1] * terms
        return sums

    def _compute_gradients(
        self,
        step: int,
        weights: list[Tensor],
        beta: Tensor,
        x: Tensor,
        seen: Tensor,
        c: Any,
        row_weights: Any,
        noise: Any,
    ) -> Gradients:
        """Return the gradients of each model's loss, and the loss terms (terms, models)."""
        named = dict(zip(self.weights, weights, strict=True))
        terms = self._terms(named, beta, StepInputs(x, seen, c, row_weights), noise, step)
        return compute_gradients(terms, weights)

    @torch.no_grad()
    def _evaluate(self) -> Tensor:
        """Return the mean loss terms on validation rows, with the same noise at every call."""
        n, device = self.held_out.shape[1], self.rows.x.device
        generators = [Generator(device).manual_seed(0) for _ in self.members]
        sums = torch.zeros(len(Terms._fields), len(self.members), device=device)
        size = max(self.settings.batch_size, LEAST_EVALUATION)
        for index in self.held_out.split(Rows(self.held_out[0]).sizes(size), 1):
            shown, noise = self._batch(index, generators)
            terms = self._terms(self.weights, self._beta(SETTLED), shown, noise, SETTLED)
            sums += index.shape[1] * torch.stack(terms)
        return sums / n

    def _batch(
        self, index: Tensor, generators: list[Generator]
    ) -> tuple[StepInputs, Tensor | None]:
        """Return the inputs and the noise of each model for one step."""
        models, n = index.shape
        x, c = self.rows[index.flatten()]
        x, c = x.unflatten(0, index.shape), None if c is None else c.unflatten(0, index.shape)
        shown = self._show(x, c, generators) if self.draws else StepInputs(x, x, c)
        if self.row_weights is not None:
            shown = shown._replace(row_weights=self.row_weights.gather(1, index))
        if self.code is None:
            return shown, None
        samples = (self.shared.n_samples,) if self.shared.n_samples > 1 else ()
        noise = x.new_empty(models, *samples, n, self.code, dtype=torch.float32)
        for own, generator in zip(noise, generators, strict=True):
            torch.randn(own.shape, generator=generator, out=own)
        return shown, noise

    def _show(self, x: Tensor, c: Tensor | None, generators: list[Generator]) -> StepInputs:
        each = [
            m.objective.draw_inputs(x[i], None if c is None else c[i], generator)
            for i, (m, generator) in enumerate(zip(self.members, generators, strict=True))
        ]
        x = x if self.shared.observe is None else torch.stack([s.x for s in each])
        seen = x if self.shared.corruption is None else torch.stack([s.seen for s in each])
        hidden = [s.condition for s in each if s.condition is not None]
        return StepInputs(x, seen, torch.stack(hidden) if hidden else None)

    def _beta(self, step: int) -> Tensor:
        """Return the KL weight of each model at a step, (models,)."""
        weights = [m.objective.kl_weight(step) for m in self.members]
        return torch.tensor(weights, device=self.rows.x.device)

    def _terms(
        self,
        weights: dict[str, Tensor],
        beta: Tensor,
        shown: StepInputs,
        noise: Tensor | None,
        step: int,
    ) -> Terms:
        """Return the loss terms of each model, (models,) each."""

        def one(
            weights: Any,
            buffers: Any,
            beta: Any,
            own: Tensor,
            shown: StepInputs,
            noise: Tensor | None,
        ) -> Terms:
            terms = zip(self.shared.penalties, own, strict=True)
            penalties = tuple(replace(p, weight=w) for p, w in terms)  # type: ignore[type-var]
            objective = replace(self.shared, beta=beta, penalties=penalties)
            state = (weights, buffers)
            return functional_call(self.program, state, (objective, shown, step, noise))

        where = StepInputs(*(None if part is None else 0 for part in shown))  # type: ignore[arg-type]
        axes = (0, self.buffer_axes, 0, 0, where, None if noise is None else 0)
        parts = (weights, self.buffers, beta, self.penalty_weights, shown, noise)
        return vmap(one, axes)(*parts)

    def _finite(self) -> list[bool]:
        """Return for each member whether all of its weights are finite."""
        each = [w.detach().isfinite().reshape(len(w), -1).all(1) for w in self.weights.values()]
        return torch.stack(each).all(0).tolist()

    @torch.no_grad()
    def _keep_best(self, better: list[int]) -> None:
        """Keep the weights of the members that have improved."""
        for name, best in self.best.items():
            best[better] = self.weights[name][better]

    def _leave(self) -> None:
        """End members that have finished, and remove them."""
        for c in (m.candidate for m in self.members if m.candidate.live):
            patience = n_patience(c.estimator, self.n_batches)
            if self.held and self.epoch - c.best_epoch >= patience:
                c.end("patience")
            elif self.epoch >= self.n_epochs:
                c.end("epochs")
        self._repack()

    @property
    def n_epochs(self) -> int:
        """Maximum number of epochs, as in Trainer."""
        return n_epochs(self.settings, self.n_batches)

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return len(self.members[0].kept.sizes(self.settings.batch_size))

    @torch.no_grad()
    def _repack(self) -> None:
        """Store the weights of ended members, and continue with the others."""
        stay = [i for i, m in enumerate(self.members) if m.candidate.live]
        if len(stay) == len(self.members):
            return
        for m in self.members:
            if not m.candidate.live:
                self.publish(m.candidate)
        self.members = [self.members[i] for i in stay]
        self.row = {m.candidate: i for i, m in enumerate(self.members)}
        self.best = {k: w[stay] for k, w in self.best.items()}
        for name, axis in self.buffer_axes.items():
            if axis == 0:
                self.buffers[name] = self.buffers[name][stay]
        self.weights = {
            k: lay_out(w.detach()[stay]).requires_grad_() for k, w in self.weights.items()
        }
        self.average = self.average.of(list(self.weights.values()), stay)
        if self.members:
            self.optimizer = self.optimizer.of(list(self.weights.values()), stay)
            self._update_members()

    @torch.no_grad()
    def publish(self, candidate: Candidate) -> None:
        """Copy the weights to keep into the candidate's own model."""
        candidate.describe(self.held)
        source = self.best if candidate.wants_best(self.held) else self.weights
        own = dict(Program(candidate.estimator.model_).named_parameters())
        for name, weight in source.items():
            own[name].copy_(weight[self.row[candidate]])

    def drop(self, candidate: Candidate, why: str) -> None:
        """End the training of a candidate."""
        candidate.end(why)
        self._repack()


def _join(candidates: Sequence[Candidate]) -> tuple[Rows, list[_Member]]:
    """Return the rows of all candidates, those of equal ones once, and the members of a stack."""
    starts: dict[int, int] = {}
    parts: list[Rows] = []
    members = []
    for c in candidates:
        assert isinstance(c.train, Rows)
        assert c.valid is None or isinstance(c.valid, Rows)
        if id(c.train) not in starts:
            starts[id(c.train)] = sum(map(len, parts))
            parts += [c.train] if c.valid is None else [c.train, c.valid]
        members.append(_Member.of(c, c.train, c.valid, starts[id(c.train)]))
    x, conditions = torch.cat([p.x for p in parts]), [p.c for p in parts if p.c is not None]
    return Rows(x, torch.cat(conditions) if conditions else None, weights=parts[0].weights), members


def _numbers(rows: Rows, start: int) -> Rows:
    """Return the numbers of rows that begin at `start`, with their sample weights."""
    return replace(rows, x=torch.arange(start, start + len(rows), device=rows.device), c=None)


def _columns(terms: Tensor) -> list[dict[str, float]]:
    """Return the terms (terms, models) of each model by name."""
    return [dict(zip(Terms._fields, each, strict=True)) for each in terms.T.tolist()]
