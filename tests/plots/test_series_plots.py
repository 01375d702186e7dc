import numpy as np
import pytest

from isthmus.plots import time_series

X = np.sin(np.arange(9000) / 9)[:, None] + [0, 1]


def test_each_channel_and_the_score_have_a_panel_with_the_segments_shaded():
    score = np.full(9000, 0.5)
    score[100] = 40.0
    sheet = time_series(X, names=["a", "$b"], score=score, threshold=1.0, segments=[(90, 110)])
    assert [axes.get_ylabel() for axes in sheet.axes] == ["a", "$b", "score"]
    assert all(len(axes.patches) == 1 for axes in sheet.axes)
    assert sheet.axes[2].get_lines()[0].get_ydata().max() == 40  # thinned lines keep extremes
    assert len(sheet.axes[0].get_lines()[0].get_xdata()) <= 4000
    sheet.canvas.draw()


def test_long_tables_and_other_shapes():
    sheet = time_series(np.zeros((10, 15)) + np.arange(15), heading="many")
    assert len(sheet.axes) == 12
    assert "without 3 more channels" in sheet.get_suptitle()
    with pytest.raises(ValueError, match="expected 9000 times"):
        time_series(X, np.arange(3))
    with pytest.raises(ValueError, match="model has shape"):
        time_series(X, model=X[:, 0])
    with pytest.raises(ValueError, match=r"\(time,\) or \(time, channels\)"):
        time_series(np.zeros((2, 3, 4)))
