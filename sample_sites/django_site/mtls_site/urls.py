"""The pages of the site. `ARRCERT_EXEMPT_PATHS` says which pages are public."""

from django.urls import path

from mtls_site import views

urlpatterns = [
    path("", views.index, name="index"),
    path("hellocert", views.hellocert, name="hellocert"),
    path("cert-info", views.cert_info, name="cert_info"),
    path("partners", views.partners, name="partners"),
    path("outbound-mtls", views.outbound_mtls, name="outbound_mtls"),
    path("health", views.health, name="health"),
]
