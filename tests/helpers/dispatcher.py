"""A dispatcher that records tasks and does not run them."""


class RecordingDispatcher:
    """Records tasks without running them."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.subscribers: list[str] = []

    def send_otp(self, otp_request_id: str) -> None:
        self.requests.append(otp_request_id)

    def subscribe(self, subscriber_id: str) -> None:
        self.subscribers.append(subscriber_id)

    unsubscribe = subscribe
