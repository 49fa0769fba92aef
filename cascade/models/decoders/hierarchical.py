"""A sentence LSTM that chooses topics and a word LSTM that writes each sentence.

Krause et al. 2017 (paragraphs) and Jing et al. 2018 (chest X-ray reports), on the pooled feature.
The end of a sentence is a token of the vocabulary: the step that reads it advances the sentence
LSTM, whose state gives the stop decision (the end of the text, or not) and the topic of the next
sentence. So a text is one row of tokens, as it is for every decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from cascade.models.decoders.base import PooledDecoder, State, Taught, open_forget_gates
from cascade.text.tokens import SEPARATOR
from cascade.text.vocabulary import BOS, EOS, PAD, SPECIAL_TOKENS, Vocabulary

SENTENCE_ENDS = (".", "!", "?")
"""Of reports; in an annotation a term is a sentence, and ``;`` stands between terms."""


class HierarchicalLstmDecoder(PooledDecoder):
    """Topic by topic from the pooled feature, word by word from the topic.

    Its state is ``(image, s_h, s_c, h, c)``: what the sentence LSTM reads of the image ``(B, S)``,
    the sentence LSTM's ``(B, S)`` each, and the word LSTM's ``(L, B, H)`` each.

    After BOS and after the end of a sentence the logits are log probabilities: the stop decision's
    of EOS, and of each other word its own times that of going on. Elsewhere EOS is a word like any
    other, since texts may end without a full stop.

    Args:
        vocab_size: number of ids, the special ones included.
        num_features: size of the image features.
        embedding: size of word vectors and topics.
        hidden: size of the word LSTM's state.
        layers: of the word LSTM.
        sentence: size ``S`` of the sentence LSTM's state and of the image vector that it reads.
        dropout: on the features, the embeddings and the outputs.
        feedback: the sentence LSTM reads the word LSTM's last state too, and so knows what was
            written; the published one knows the image and the number of sentences alone.

    Shape:
        - features: ``(B, D)``
        - states: ``(B, T, H)``, the word LSTM's top layer after each word
    """

    sentence_ends: Tensor

    def __init__(
        self,
        vocab_size: int,
        num_features: int,
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        sentence: int = 256,
        dropout: float = 0.0,
        feedback: bool = False,
    ) -> None:
        """Random weights, no feature statistics yet, and no token that ends a sentence."""
        super().__init__(num_features, dropout)
        self.hidden, self.layers, self.sentence, self.feedback = hidden, layers, sentence, feedback
        self.register_buffer("sentence_ends", torch.zeros(vocab_size, dtype=torch.bool))
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        self.pool = nn.Linear(num_features, sentence)
        self.sentences = nn.LSTMCell(sentence + (hidden if feedback else 0), sentence)
        self.topic = nn.Sequential(
            nn.Linear(sentence, sentence), nn.ReLU(), nn.Linear(sentence, embedding)
        )
        self.stop = nn.Linear(sentence, 1)
        self.words = nn.LSTM(embedding, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.output = nn.Linear(hidden, vocab_size)
        open_forget_gates(self.sentences, sentence)
        open_forget_gates(self.words, hidden)

    def load_initial(self, vocabulary: Vocabulary) -> str | None:
        """Find the tokens that end a sentence; they are kept beside the weights.

        Raises:
            ValueError: the vocabulary has none.
        """
        ends = (SEPARATOR,) if vocabulary.tokenizer.name == "annotation" else SENTENCE_ENDS
        found = [token.strip("Ġ‿") in ends for token in vocabulary.tokens]
        found[: len(SPECIAL_TOKENS)] = [False] * len(SPECIAL_TOKENS)
        if not any(found):
            raise ValueError(
                f"decoder=hierarchical_lstm: no token of the vocabulary ends a sentence "
                f"({' '.join(ends)}); take decoder=lstm"
            )
        self.sentence_ends.copy_(torch.tensor(found))
        return f"{sum(found)} of {len(vocabulary)} tokens end a sentence"

    def start(self, normalised: Tensor) -> State:
        """The state before the first sentence: zeros, and what is read of the image."""
        image = F.relu(self.pool(normalised))
        words = image.new_zeros(self.layers, len(image), self.hidden)
        return image, torch.zeros_like(image), torch.zeros_like(image), words, words

    def _advance(self, state: State, rows: Tensor) -> State:
        """The state in which some rows begin their next sentence."""
        image, s_h, s_c, h, c = state
        read = image[rows]
        if self.feedback:
            read = torch.cat([read, h[-1, rows]], dim=1)
        new_h, new_c = self.sentences(read, (s_h[rows], s_c[rows]))
        topic = self.dropout(self.topic(new_h))
        _, (first_h, first_c) = self.words(topic.unsqueeze(0))
        return (
            image,
            s_h.index_copy(0, rows, new_h),
            s_c.index_copy(0, rows, new_c),
            h.index_copy(1, rows, first_h),
            c.index_copy(1, rows, first_c),
        )

    def _ends(self, tokens: Tensor) -> Tensor:
        """Where a sentence ends or the text begins."""
        return self.sentence_ends[tokens] | (tokens == BOS)

    def _read(self, tokens: Tensor, word: Tensor, state: State) -> State:
        """One word further; ``word`` are the vectors of ``tokens``.

        The token that ends a sentence is read as the beginning of the next one.
        """
        rows = self._ends(tokens).nonzero().squeeze(1)
        if len(rows):
            state = self._advance(state, rows)
        image, s_h, s_c, h, c = state
        _, (h, c) = self.words(word.unsqueeze(0), (h, c))
        return image, s_h, s_c, h, c

    def _score(self, tokens: Tensor, words: Tensor, sentences: Tensor) -> Tensor:
        """Logits of the next words ``(..., V)``, the stop decision where a sentence ends."""
        logits = self.output(self.dropout(words))
        stop = self.stop(sentences)
        end = F.one_hot(torch.tensor(EOS, device=tokens.device), logits.shape[-1]).bool()
        others = logits.masked_fill(end, -torch.inf).log_softmax(dim=-1) + F.logsigmoid(-stop)
        decided = torch.where(end, F.logsigmoid(stop), others)
        return torch.where(self._ends(tokens).unsqueeze(-1), decided, logits)

    def step(self, normalised: Tensor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further; at the end of a sentence the sentence LSTM goes further too."""
        after = self._read(tokens, self.dropout(self.embedding(tokens)), state)
        return self._score(tokens, after[3][-1], after[1]), after

    def teach(self, features: Tensor, tokens: Tensor) -> Taught:
        """Teacher forcing; the words are read one by one."""
        state = self.start(self.normalise(features))
        vectors = self.dropout(self.embedding(tokens))
        words, sentences = [], []
        for token, word in zip(tokens.unbind(1), vectors.unbind(1), strict=True):
            state = self._read(token, word, state)
            words.append(state[3][-1])
            sentences.append(state[1])
        states = torch.stack(words, dim=1)
        logits = self._score(tokens, states, torch.stack(sentences, dim=1))
        return Taught(logits, states, None)

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of other rows; what is read of the image needs no moving."""
        image, *sentence = state[:3]
        moved = [part.index_select(0, rows) for part in sentence]
        return (image, *moved, *(part.index_select(1, rows) for part in state[3:]))

    def select(self, state: State, rows: Tensor) -> State:
        """The state of any rows, what is read of the image included."""
        moved = [part.index_select(0, rows) for part in state[:3]]
        return (*moved, *(part.index_select(1, rows) for part in state[3:]))
