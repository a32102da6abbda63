"""How good a generator and a ranker are on dialogues that were never trained on."""

import math
import random

import torch
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from bot.generator.dialects.base import IGNORED
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.generator.ranking.base import Ranker
from bot.training.corpora.registry import corpus_named
from bot.training.examples import Batches, encode_dialogues
from bot.training.negatives import ReplyPool

RIVALS = 9


@torch.inference_mode()
def perplexity(checkpoint: str, corpus_name: str) -> float:
    """exp of the mean loss over every learned token of the held-out part, each token counted once."""
    found = open_checkpoint(checkpoint)
    dialect = dialect_named(found.dialect, found.read_tokenizer())
    model = load_model(GPT2LMHeadModel, found, torch.device("cpu"), torch.float32)
    corpus = corpus_named(corpus_name)
    examples = encode_dialogues(dialect, corpus.held_out(), corpus, model.config.n_positions, random.Random(0))
    batches = Batches(examples, 4096, min(dialect.stop_ids), seed=0)
    loss, tokens = 0.0, 0
    for number in range(len(batches)):
        batch = batches[number]
        targets = batch["labels"][:, 1:]
        learned = targets != IGNORED
        read = {name: ids for name, ids in batch.items() if name != "labels"}
        logits = model(**read, use_cache=False).logits[:, :-1][learned]  # (N, V)
        loss += float(F.cross_entropy(logits.float(), targets[learned], reduction="sum"))
        tokens += int(learned.sum())
    return math.exp(loss / tokens)


def hits_at_one(ranker: Ranker, corpus_name: str, seed: int = 0) -> float:
    """How often the real reply scores best among ten: itself and nine replies to something else (chance: 0.1)."""
    dialogues = [dialogue for dialogue in corpus_named(corpus_name).held_out() if len(dialogue.turns) > 1]
    pool = ReplyPool(dialogues)
    rng = random.Random(seed)
    hits, questions = 0, 0
    for dialogue in dialogues:
        place = rng.randrange(1, len(dialogue.turns), 2)
        context, reply = dialogue.turns[:place], dialogue.turns[place]
        rivals = [pool.other(reply, rng) for _ in range(RIVALS)]
        scores = ranker.score([(context, text) for text in (reply, *rivals)])
        hits += scores[0] > max(scores[1:])
        questions += 1
    return hits / questions
