"""Tasks of long context, as arrays of NumPy: they know no framework.

| what a model must do | module |
|---|---|
| look up what was told, over distance | `recall.AssociativeRecall` |
| find RULER's single needle at any depth | `needle.Needle` |
| predict presidents' addresses, or novels | `modelling.LanguageModelling` |
| answer bAbI-style questions on facts scattered in prose | `stories.Stories` |
| tell an address' president, party or decade | `addresses.AddressQuestions` |
| forecast electricity demand | `forecasting.Electricity` |
| predict the next base of a genome | `genomes.BaseModelling` |
| tell a genome's species | `genomes.GenomeSpecies` |
| choose a word for a definition, or what it is | `wordnet.MultipleChoice` |

All are trained at one length and judged at 1, 2, 4, 8 and 16 times it, on
documents, keys, strains or years that training has not seen;
`benchmarks.tasks.task` says how. Genomes, WordNet and novels are Debian
packages, which `python -m benchmarks.data` fetches.

Addresses and stories are not the published benchmarks they resemble, and their
figures are not comparable with those.
"""
