"""What every answer to a request needs: who asks, what may be shown to them, and how often they may ask.

Shared by the REST API, the template tags and the plain views; none of it needs Django REST framework.
"""
