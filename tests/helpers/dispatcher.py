"""A dispatcher that records work and does not run it."""


class RecordingDispatcher:
    """Work that was handed on, and is not done."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.subscribers: list[int] = []

    def send_otp(self, request: str) -> None:
        self.requests.append(request)

    def subscribe(self, subscriber_id: int) -> None:
        self.subscribers.append(subscriber_id)

    unsubscribe = subscribe
