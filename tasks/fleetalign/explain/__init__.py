"""Why a release, an entity or a page is as it is: as text, as a page with plots."""
