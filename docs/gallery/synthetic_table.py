"""
Synthetic rows of a table
=========================

Rows of a mixed table (numbers, a category, yes or no) beside as many rows sampled from a VAE:
pairs of columns, and the frequencies of categories and answers.
"""

from sklearn.datasets import load_wine

from isthmus import VAE
from isthmus.plots.style import PALETTE, tidy, title
from isthmus.plots.style import figure as sheet

wine = load_wine(as_frame=True)
real = wine.data.assign(
    cultivar=wine.target.map({0: "Barolo", 1: "Grignolino", 2: "Barbera"}).astype("category"),
    strong=wine.data["alcohol"] > 13,
)
model = VAE(n_components=6, epochs=400, random_state=0).fit(real)
synthetic = model.sample(len(real), random_state=0)  # a data frame with the same columns and types

pairs = [("alcohol", "color_intensity"), ("flavanoids", "hue"), ("proline", "total_phenols")]
styles = {"real": (real, "o", PALETTE[0], -0.2), "synthetic": (synthetic, "x", PALETTE[6], 0.2)}
figure = sheet(5.2)
panels = list(figure.subplots(2, 3).flat)
for axes, (x, y) in zip(panels[:3], pairs, strict=True):
    for name, (rows, marker, colour, _) in styles.items():
        axes.scatter(rows[x], rows[y], 12, colour, marker, linewidths=1, alpha=0.7, label=name)
    tidy(axes, xlabel=x, ylabel=y)
for axes, column in zip(panels[3:5], ["cultivar", "strong"], strict=True):
    for rows, _, colour, shift in styles.values():
        counts = rows[column].value_counts().sort_index()
        axes.barh([i + shift for i in range(len(counts))], counts, 0.4, color=colour)
    tidy(axes, xlabel="rows", ylabel=column)
    axes.set_yticks(range(len(counts)), map(str, counts.index))
panels[5].axis("off")
panels[5].legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
title(figure, "178 real wines and 178 sampled from a VAE")
