"""An edit as a YAML file: validated, reproducible, hashed."""

from mnemotomy.recipe.file import RecipeFile, load_recipe
from mnemotomy.recipe.run import run_recipe
from mnemotomy.recipe.schema import Recipe

__all__ = ["Recipe", "RecipeFile", "load_recipe", "run_recipe"]
