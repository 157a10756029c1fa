"""Surgery as a YAML file: an edit of moments, or a method; validated, reproducible, hashed."""

from mnemotomy.recipe.file import RecipeFile, load_recipe, made_recipe
from mnemotomy.recipe.run import run_recipe
from mnemotomy.recipe.schema import EditRecipe, MethodRecipe, Recipe

__all__ = ["EditRecipe", "MethodRecipe", "Recipe", "RecipeFile", "load_recipe", "made_recipe", "run_recipe"]
