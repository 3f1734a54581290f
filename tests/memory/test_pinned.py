import torch

from pipeline.memory.pinned import copies, in_chunks, to_device


class Late:
    """Copies that happen as late as they may: when somebody waits for them."""

    def __init__(self):
        self.pending, self.most = {}, 0

    def start(self, target, source):
        self.pending[len(self.pending), id(target)] = (target, source)
        self.most = max(self.most, len(self.pending))
        return next(reversed(self.pending))

    def wait(self, copy):
        target, source = self.pending.pop(copy)
        target.copy_(source)


def test_no_buffer_is_filled_again_before_its_bytes_have_left():
    source = torch.arange(250, dtype=torch.uint8)
    target, line = torch.zeros_like(source), Late()
    in_chunks(target, source, [torch.empty(16, dtype=torch.uint8) for _ in range(2)], line)
    assert torch.equal(target, source)
    assert not line.pending


def test_a_buffer_is_filled_while_the_other_is_on_its_way():
    line = Late()
    in_chunks(
        torch.zeros(64, dtype=torch.uint8),
        torch.ones(64, dtype=torch.uint8),
        [torch.empty(16, dtype=torch.uint8)] * 2,
        line,
    )
    assert line.most == 2


def test_on_a_cpu_bytes_are_handed_back_as_they_are():
    flat = torch.arange(9, dtype=torch.uint8)
    with copies(flat.device):
        assert to_device(flat, torch.device("cpu")) is flat
