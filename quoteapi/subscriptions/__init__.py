"""The domain of subscriptions: who gets the daily SMS."""
