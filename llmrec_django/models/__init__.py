from llmrec_django.models.editorial import EditorialRule
from llmrec_django.models.experiments import Experiment, ExperimentArm
from llmrec_django.models.learner import ForgottenDeed, Interaction, LearnerProfile
from llmrec_django.models.lists import RecommendationItem, RecommendationList
from llmrec_django.models.placement import Placement
from llmrec_django.models.resource import Competency, Prerequisite, Resource, ResourceCompetency
from llmrec_django.models.screening import ResourceScreening, ScreeningReview
from llmrec_django.models.texts import GoalDraft, WriterUsage, WrittenText
from llmrec_django.models.vectors import EmbeddingClaim, ProfileVector, ResourceVector, VectorSpace
from llmrec_django.models.versions import EvaluationRecord, ModelVersion, ResourceNeighbours

__all__ = [
    "Competency",
    "EditorialRule",
    "EmbeddingClaim",
    "EvaluationRecord",
    "Experiment",
    "ExperimentArm",
    "ForgottenDeed",
    "GoalDraft",
    "Interaction",
    "LearnerProfile",
    "ModelVersion",
    "Placement",
    "Prerequisite",
    "ProfileVector",
    "RecommendationItem",
    "RecommendationList",
    "Resource",
    "ResourceCompetency",
    "ResourceNeighbours",
    "ResourceScreening",
    "ResourceVector",
    "ScreeningReview",
    "VectorSpace",
    "WriterUsage",
    "WrittenText",
]
