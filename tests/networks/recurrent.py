"""Recurrent networks."""

import torch
from torch import Tensor, nn

from tests.networks.example import seeded, tokens


class TextClassifier(nn.Module):
    """The last step's hidden states of both directions, batch first."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 12)
        self.rnn = cell(12, 10, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.fc = nn.Linear(20, 5)

    def forward(self, text: Tensor) -> Tensor:
        _, hidden = self.rnn(self.embedding(text))
        last = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.fc(torch.cat((last[-2], last[-1]), dim=1))


class Tagger(nn.Module):
    """Every step's output of one layer of LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.norm, self.tag = nn.LSTM(6, 12, batch_first=True), nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.tag(self.norm(self.lstm(x)[0]))


class Stepper(nn.Module):
    """A GRU that takes its state and gives it back; the state's batch axis is its second."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(6, 10, num_layers=2, batch_first=True), nn.Linear(10, 3)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.gru(x, state)
        return self.out(y), state


class Elman(nn.Module):
    """A plain recurrent layer, time first, and the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.RNN(6, 10, nonlinearity="tanh"), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.transpose(0, 1))[0].mean(0))


@seeded
def lstm():
    return Tagger(), {"x": torch.randn(2, 7, 6)}


@seeded
def lstm_bidirectional():
    return TextClassifier(nn.LSTM), {"text": tokens(7, 40)}


@seeded
def gru_bidirectional():
    return TextClassifier(nn.GRU), {"text": tokens(7, 40)}


@seeded
def gru_with_state():
    return Stepper(), {"x": torch.randn(2, 4, 6), "state": torch.randn(2, 2, 10)}


@seeded
def elman():
    return Elman(), {"x": torch.randn(2, 5, 6)}
