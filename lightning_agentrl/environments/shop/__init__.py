"""A made-up web shop with WebShop's actions and score."""

from lightning_agentrl.environments.shop.environment import Shop
from lightning_agentrl.environments.shop.shopper import Shopper

__all__ = ["Shop", "Shopper"]
