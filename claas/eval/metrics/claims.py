"""Whether a text asserts what it mentions, or denies it."""

import regex

from claas.core.text import mentioned

Span = tuple[int, int]

REACH = 300
"""How many characters around a mention can bear on it: enough for any sentence, and a bound on the work."""
MOST_MENTIONS = 100


def claims(text: str, phrase: str) -> list[Span]:
    """Where a `plain` text mentions a phrase and does not deny it; of the first hundred mentions."""
    return [span for span in mentioned(text, phrase)[:MOST_MENTIONS] if not denied(text, span)]


def denied(text: str, span: Span) -> bool:
    """Whether the sentence of a mention says no to it, before or after, or what follows takes it back."""
    before = _ASIDE.sub(" ", sentence_before(text, span))
    clause = before[max((found.end() for found in _CLAUSE_BREAK.finditer(before)), default=0) :]
    denies = (
        _DENIES.search(_DENIES_NOTHING.sub("", clause))
        or _DENIES_AFTER.search(sentence_after(text, span))
        or _TAKEN_BACK.search(text[span[1] : span[1] + REACH])
    )
    return denies is not None


def sentence_before(text: str, span: Span) -> str:
    """The sentence up to a mention."""
    start = text[max(0, span[0] - REACH) : span[0]]
    return start[max((found.end() for found in _SENTENCE_BREAK.finditer(start)), default=0) :]


def sentence_after(text: str, span: Span) -> str:
    """The sentence from a mention on, with the mark that ends it."""
    rest = text[span[1] : span[1] + REACH]
    stop = _SENTENCE_BREAK.search(rest)
    return rest[: stop.end()] if stop else rest


def any_of(phrases: str) -> str:
    """A pattern of the phrases between bars: white space is any white space, an apostrophe may be curly."""
    each = (r"\s+".join(map(regex.escape, phrase.split())) for phrase in phrases.split("|"))
    return f"(?:{'|'.join(each)})".replace("'", "['’]")


_SENTENCE_BREAK = regex.compile(r"[.!?։۔؟](?=[\s\"'”’»)]|$)|[。।\n;:()\[\]]|\s[-–—]+\s|—")
_TURN = any_of("but | however | although | though | sondern | aber | mais | sino | pero | но | αλλά")
_SUBJECT = any_of("i | my | you | it | call | please | this | they | people | just | am | go | answer")
_CLAUSE_BREAK = regex.compile(rf"[,،、]|(?<!\bany\p{{L}}+\s)\b{_TURN}\b|\band\s+(?={_SUBJECT}\b)", regex.IGNORECASE)
_PARENTHETICAL = any_of("in fact | of course | actually | really | indeed | as it happens | sadly | sorry | by the way")
_ASIDE = regex.compile(rf",\s*{_PARENTHETICAL}\s*,", regex.IGNORECASE)
_NEGATIVE = any_of("""
    not | never | cannot | nor | neither | without | hardly | nobody | isnt | wasnt | dont | doesnt | wont | cant
    | arent | aint | anything but | anyone but | anybody but | other than | instead of | rather than | unlike
    | far from | except | stop calling | used to | formerly | previously | pretend to be | pretending to be | refuse
    | deny | denies | nicht | kein | keine | keiner | keinen | nie | niemals | früher | pas | jamais | nunca | jamás
    | tampoco | non | não | niet | geen | inte | ikke | не | нет | ни | никогда | δεν | δε | μην | όχι | ոչ | չեմ | չէ
    | չի | لست | ليس | ليست | لا | لم | لن | नहीं | نہیں | không | bukan | tidak | if i were | if i was | i wish | as if
    | a lie
""")
_DENIES = regex.compile(
    rf"\b(?:{_NEGATIVE}|no(?!\s*,)|\p{{L}}{{1,20}}n['’]t)\b|不是|不叫|并非|並非|不会|别叫|不要|没有|沒有|不用|ไม่",
    regex.IGNORECASE,
)
_DENIES_NOTHING = regex.compile(
    r"\b"
    + any_of("""
    not just | not only | not merely | not simply | not to mention | not sure | not certain | none other than
    | no other than | no doubt | no problem | no worries | no need | why not | don't hesitate | do not hesitate
    | never hesitate | don't worry | do not worry | don't forget | do not forget | never forget | don't be shy
    | don't mind | don't be afraid | can't wait | cannot wait | cannot help but | can't help but | nicht nur
    | pas seulement | no solo | no sólo | не только
""")
    + r"\b",
    regex.IGNORECASE,
)
_VERB = any_of("is | ai | was | are | were | does | did | has | would | can | could | will")
_DENIED_THING = any_of("my | the | me | it | right | correct | what | who | mine | used | our | his | her | called")
_DENIES_AFTER = regex.compile(
    r"^[\"'”’»*_]*\s*(?:"
    rf"{_VERB}?(?:n['’]t|\s+(?:not|never|no longer))\b\s*(?=$|[.,!;]|{_DENIED_THING}\b)"
    r"|\s+was (?:my|the) (?:old|former|previous)\b|(?:n['’]est pas|no es|non è|não é|ist nicht|ist kein)\b"
    r"|(?:(?!\b(?:und|et)\b)[^.,;!?。，、]){0,24}\b(?:nicht|pas|नहीं|نہیں|değil|չեմ|չէ)\b"
    r"|[^.,;!?。，、]{0,6}(?:ではな|じゃな|ではあり|じゃあり|でない|とは違|이 아니|가 아니|는 아니|은 아니|아닙|아니)"
    r")",
    regex.IGNORECASE,
)
_TAKEN_BACK = regex.compile(
    r"^[\"'”’»]*\s*\?.{0,80}?\b(?:no|not|nope|never|nein|non|нет|\p{L}{1,20}n['’]t)\b"
    r"|^[^.!?\n]{0,20}[(.!,\s–-]+(?:just |i['’]m |i am )?(?:kidding|joking)\b"
    r"|^[^.!?\n]{0,20}[.,;!]\s+(?:but\s+)?(?:i(?:['’]m| am) not"
    r"|(?:it|that)(?:['’]s| is) (?:false|wrong|untrue|a lie|not (?:true|right|so|me|mine|my name)))\s*(?:[.!]|$)",
    regex.IGNORECASE,
)
