"""Evidence that the tests of this folder write about."""

from llmrec_django.types import Evidence, EvidenceResource

ALGEBRA = EvidenceResource(
    1, "course:1", "Linear Algebra", {"zh-hans": "线性代数"}, verb="completed", share=0.6, learners=12
)
SETS = EvidenceResource(3, "book:3", "C# & Sets: 101 Ideas", {"zh-hans": "集合论101讲"}, verb="viewed", share=0.2)
GRAPHS = EvidenceResource(2, "course:2", "Spectral Graph Theory", {"zh-hans": "谱图理论"})

EVIDENCE = Evidence(
    resource=GRAPHS,
    source="trained",
    own=(ALGEBRA, SETS),
    keywords=("eigenvalues", "特征值"),
    level="advanced",
    minutes=90,
    minutes_per_week=120,
)
BARE = Evidence(resource=GRAPHS, source="content", own=(SETS,))
