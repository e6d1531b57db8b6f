"""Retrievers behind one interface: BM25 in this process or a server of ours, or any server of Search-R1's protocol."""

from lightning_agentrl.tools.retrieval.base import Hit, Retriever
from lightning_agentrl.tools.retrieval.bm25 import BM25
from lightning_agentrl.tools.retrieval.http_retriever import HTTPRetriever
from lightning_agentrl.tools.retrieval.pages import PageFile, Pages, PageServer
from lightning_agentrl.tools.retrieval.ranking import Ranking
from lightning_agentrl.tools.retrieval.served import ServedBM25

__all__ = ["BM25", "HTTPRetriever", "Hit", "PageFile", "PageServer", "Pages", "Ranking", "Retriever", "ServedBM25"]
