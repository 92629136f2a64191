"""The paper's Table 1 on the built-in world, and what noise in captions costs.

`python -m benchmarks.ablation` trains (`plan` says what, `running` does it) and writes a table, a
plot and all figures (`figures`, `page`).
"""
