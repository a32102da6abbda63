"""What a decoding section that leaves keys out stands for."""

from bot.generator.decoding import Decoding

THEIRS = Decoding(candidates=1, temperature=0.0, top_k=8, max_length=48)


def test_by_itself_it_has_banters_defaults() -> None:
    ours = Decoding(top_p=0.5)
    assert ours.over(THEIRS) == ours


def test_the_original_preset_takes_what_is_left_out_from_the_checkpoints_habits() -> None:
    assert Decoding(preset="original").over(THEIRS) == THEIRS


def test_what_is_written_beside_the_preset_holds() -> None:
    settled = Decoding.model_validate({"preset": "original", "top_k": 3}).over(THEIRS)
    assert (settled.top_k, settled.temperature, settled.max_length) == (3, 0.0, 48)
