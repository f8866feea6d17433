"""Pictures of the report: pure functions of the model, drawn as small SVG that follows the page's colours."""
