"""Whether the Hugging Face hub can be reached, found out within seconds.

The hub's own client retries for a minute and more where there is no network. Whoever wants to
download asks here first.
"""

from __future__ import annotations

import threading

from prolab_d2.errors import ProLabError, first_line

__all__ = ["hub_problem", "require_hub"]

_SECONDS = 5.0


def hub_problem() -> str | None:
    """Why nothing can be downloaded, as half a sentence, or None when the hub answers.

    The environment variables of the hub's client count: HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE,
    HF_ENDPOINT and those of proxies.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids a download"
    endpoint = constants.ENDPOINT
    outcome = [f"no answer within {_SECONDS:g} seconds"]

    def ask() -> None:
        try:
            status = get_session().head(endpoint, timeout=_SECONDS).status_code
            # Anything below is an answer of the hub, even if it refuses this address.
            outcome[0] = f"status {status}" if status >= 500 else ""
        except Exception as error:  # httpx or requests, as the hub's version has it
            outcome[0] = first_line(error)

    # In a thread, because looking up the name of the host heeds no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    failure = outcome[0]
    return f"{endpoint} cannot be reached ({failure})" if failure else None


def require_hub(what: str, cure: str) -> None:
    """Makes sure, before a download begins, that it can.

    Args:
        what: to download, such as "the sentence encoder 'BAAI/bge-base-en-v1.5'".
        cure: how to go on without the hub, after a colon.
    Raises:
        ProLabError: the hub cannot be reached.
    """
    problem = hub_problem()
    if problem:
        raise ProLabError(f"{what} is not in the local cache, and {problem}: {cure}")
