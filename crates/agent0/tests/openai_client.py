"""What OpenAI's own client makes of `agent0 serve`. Called with the address, the model's name and the key of a server that has room for one
request; a check that fails ends it with a traceback."""

import sys

import openai

ADDRESS, MODEL, KEY = sys.argv[1:]
client = openai.OpenAI(base_url=ADDRESS, api_key=KEY, max_retries=0)
QUESTION = "What is 1234 * 5678?\n\nWrite a short ```python program, with a comment for each step, that prints the answer."
SUM = [{"role": "user", "content": QUESTION}]
RHYME = [{"role": "user", "content": "Write a line about the sea."}]


def refusal(kind, call, **more):
    try:
        call(**more)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def chat(messages, **more):
    return client.chat.completions.create(model=MODEL, messages=messages, **more)


def streamed(chunks):
    texts, finish, usage = [], None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return texts, finish, usage


def models():
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def refusals():
    stranger = openai.OpenAI(base_url=ADDRESS, api_key="wrong", max_retries=0)
    assert refusal(openai.AuthenticationError, stranger.models.list).code == "invalid_api_key"
    error = refusal(openai.BadRequestError, chat, messages=RHYME, response_format={"type": "json_object"})
    assert error.param == "response_format", error
    other = {"model": "other", "messages": RHYME}
    assert refusal(openai.NotFoundError, client.chat.completions.create, **other).code == "model_not_found"
    assert refusal(openai.BadRequestError, chat, messages=RHYME, max_tokens=8, logprobs=True, top_logprobs=2).param == "top_logprobs"


def the_tools_result_is_in_the_text():
    whole = chat(SUM, temperature=0)
    text = whole.choices[0].message.content
    assert "\n```output\n7006652\n```\n" in text, text
    assert whole.choices[0].finish_reason == "stop" and whole.usage.completion_tokens > 10
    texts, finish, usage = streamed(chat(SUM, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert "".join(texts) == text and finish == "stop" and usage == whole.usage
    assert len(texts) > 10, "it comes piece by piece"


def the_tool_can_be_switched_off():
    choice = chat(SUM, temperature=0, max_tokens=60, extra_body={"tool": False}).choices[0]
    assert "```output\n7006652" not in choice.message.content, choice


def a_seed_repeats():
    def text(seed, **more):
        answer = chat(RHYME, seed=seed, max_tokens=16, temperature=1.0, **more)
        return "".join(streamed(answer)[0]) if more.get("stream") else answer.choices[0].message.content

    first = text(7)
    assert text(7) == first and text(7, stream=True) == first and text(8) != first, first


def choices_and_logprobs():
    answer = chat(RHYME, n=2, seed=1, temperature=1.0, max_tokens=16, logprobs=True, extra_body={"tool": False})
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    for choice in answer.choices:
        tokens = choice.logprobs.content
        assert b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace") == choice.message.content
        assert all(token.logprob <= 0 for token in tokens)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens <= 32


def completions_and_stop_strings():
    def complete(**more):
        return client.completions.create(model=MODEL, prompt="1, 2, 3, 4,", temperature=0, max_tokens=16, **more)

    whole = complete(stop=["8"], logprobs=0)
    assert whole.choices[0].text == " 5, 6, 7, " and whole.choices[0].finish_reason == "stop", whole
    assert "".join(whole.choices[0].logprobs.tokens) == whole.choices[0].text
    chunks = list(complete(stop=["8"], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert complete(stop="6", echo=True).choices[0].text == "1, 2, 3, 4, 5, "
    assert complete(stop="6", extra_body={"top_k": 1}).choices[0].text == " 5, "


def one_too_many():
    long = chat(RHYME, max_tokens=2000, temperature=1.0, stream=True, extra_body={"tool": False})
    next(iter(long))
    error = refusal(openai.RateLimitError, chat, messages=RHYME, max_tokens=1)
    assert error.code == "rate_limit_exceeded" and error.response.headers["retry-after"] == "1"
    long.close()
    # Whoever goes away makes room: at once, but not before the server has noticed.
    assert client.with_options(max_retries=5).chat.completions.create(model=MODEL, messages=RHYME, max_tokens=1)


CHECKS = [
    models,
    refusals,
    the_tools_result_is_in_the_text,
    the_tool_can_be_switched_off,
    a_seed_repeats,
    choices_and_logprobs,
    completions_and_stop_strings,
    one_too_many,
]
for check in CHECKS:
    check()
    print(check.__name__, "ok")
