"""`qagate train ablate`: an ablation table of a paper trained anew, row by row, seed by seed.

tables/*.toml say what each row switches and what the paper prints; `table` reads them, `runs` trains,
`figures` draws intervals, `report` says what they show about the paper's claims. See docs/ablations.md.
"""
