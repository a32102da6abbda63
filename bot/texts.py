"""What Banter itself says: short, polite, and never more than needed."""

BUSY = "I have a lot to answer right now. Please give me a moment and try again."
USER_LIMIT = "That was a lot at once! Give me a minute, then I'm all yours again."
CHANNEL_LIMIT = "This chat is faster than I am. I'll pause for a minute."
NO_WORDS = "I can only read words so far. Tell me in text?"
SHORTENED = "That was very long; I read only its beginning."
FAILED = "Sorry, something went wrong on my side and I could not answer that."
COMMAND_FAILED = "Sorry, that did not work. Please try again in a moment."
UNKNOWN_COMMAND = "I don't know that command. /help lists what I know."
ADMINS_ONLY = "Only this chat's admins can do that."

REFUSALS = {
    "queue_total": BUSY,
    "queue_channel": BUSY,
    "user_limit": USER_LIMIT,
    "channel_limit": CHANNEL_LIMIT,
    "empty": NO_WORDS,
}
