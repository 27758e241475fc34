"""Whether a name in a response is its speaker's own."""

import regex

from claas.core.text import mentioned, plain
from claas.eval.metrics.claims import REACH, Span, any_of, claims, sentence_after, sentence_before


def own_names(response: str, name: str) -> list[Span]:
    """Where a response gives `name` as its speaker's own.

    A mention counts unless it is denied, asked about, quoted from somebody, or the name of somebody or something else.
    Beside another name that the speaker goes by, only "I am ..." and the like count.
    """
    text = plain(response)
    quotes = [quote.span(1) for quote in _QUOTE.finditer(text)]
    spans = [span for span in claims(text, name) if not _of_another(text, span, quotes)]
    introduced = [span for span in spans if _INTRODUCES.search(text[max(0, span[0] - REACH) : span[0]])]
    if _goes_by_another_name(text, name):
        return introduced
    return [span for span in spans if span in introduced or not _is_talk_about(text, span)]


_OPENS = r"[\s\"'“”‘’«»*_:,-]*"
_CLOSES = r"^[\"'”’»*_]*"
_SELF = any_of("""
    i'm | im | i am | my name's | my name is | my full name is | my first name is | call me | i am called
    | i'm called | i go by | ich bin | ich heiße | ich heisse | mein name ist | je suis | je m'appelle | mon nom est
    | soy | me llamo | mi nombre es | mi chiamo | sou | meu nome é | ik ben | ik heet | меня зовут | моё имя | мое имя
    | με λένε | ονομάζομαι
""")
_INTRODUCTION = any_of("""
    calls me | calling me | called me | the name's | the name is | i answer to | refer to me as | know me as
    | known as | address me as | name | this is | nenn mich | nennt mich | nennen sie mich | appelle-moi | appelez-moi
    | llámame | sono | chamo-me | я | είμαι | είμαι ο | ես | իմ անունն է | أنا | اسمي | मेरा नाम | मैं | میرا نام | میں
""")
_SOMETHING_NAMED = r"(?:assistant|ai|bot|model|helper|chatbot)\s+(?:called|named)"
_UNSPACED_INTRODUCTION = any_of("""
    我是 | 我叫 | 我的名字是 | 叫我 | 私は | わたしは | 僕は | 私の名前は | 저는 | 나는 | 제 이름은 | ชื่อ | ผมคือ | ฉันคือ
""")
_FILLER = any_of("""
    the | your | a | an | ai | assistant | helpful | friendly | humble | new | virtual | named | called | still
    | indeed | actually | simply | just | only | always | definitely | really | of course | proudly | personal
    | digital | bot | chatbot | model | one and only | none other than | no other than
""")
_INTRODUCES = regex.compile(
    rf"(?:\b(?:{_SELF}|{_INTRODUCTION}|{_SOMETHING_NAMED})\b|{_UNSPACED_INTRODUCTION}){_OPENS}(?:{_FILLER}\b{_OPENS}){{0,5}}$",
    regex.IGNORECASE,
)
_OTHER_NAME = regex.compile(rf"(?i:\b{_SELF})\s+[\"'“«*_]*(?P<name>\p{{Lu}}[\p{{L}}\p{{M}}]*(?:[-.]\p{{L}}+)*)")
_NO_NAME = regex.compile(
    any_of("""
    a | an | the | your | ai | ki | ia | ии | assistant | assistent | assistentin | assistente | asistente
    | ассистент | helper | chatbot | bot | sorry | happy | glad | here | sure | just | so | not | only | always
    | ready | doing | fine | good | great | well | very | one | language | human | robot | nobody | ein | eine | un
    | une
"""),
    regex.IGNORECASE,
)


def _goes_by_another_name(text: str, name: str) -> bool:
    """Whether the speaker is introduced by a name of which this one is no part."""
    if text.isupper():  # every word looks like a name
        return False
    first = plain(name).casefold().split()[0]
    others = (found.group("name") for found in _OTHER_NAME.finditer(text))
    return any(
        not _NO_NAME.fullmatch(other) and not mentioned(other, name) and not first.startswith(other.casefold())
        for other in others
    )


_QUOTE = regex.compile(r"[\"“«„]([^\"”»“]{0,300})[\"”»“]")
_SPEECH = any_of("said | says | wrote | writes | asked | told | replied | shouted | claims | claimed")
_SAID = regex.compile(rf"\b(?<!\bi ){_SPEECH}\b[^.!?\n]{{0,40}}$", regex.IGNORECASE)
_SAID_AFTER = regex.compile(rf"\s*{_SPEECH}\s+(?!i\b)", regex.IGNORECASE)
_FIRM = any_of("""
    Ltd | Inc | Corp | GmbH | LLC | Company | Co | AG | Labs | Foundation | Technologies | Systems | Group | Street
    | City
""")
_OWNS = regex.compile(
    rf"{_CLOSES}(?:['’]s\s+(?!(?:the|here|my|your|at|an?|ready|glad|happy|not)\b)\p{{L}}"
    rf"|-(?!(?:san|chan|kun|sama)\b)\p{{L}}|\s+{_FIRM}\b|\s+is\s+(?:your|his|her|their)\s+name\b)"
)
_SOMEBODY = any_of("""
    you are | you're | you are called | your name is | your name's | his name is | her name is | their name is
    | its name is | he is | she is | they are | who is | somebody else is | someone else is
""")
_OF_SOMEBODY = regex.compile(rf"(?:\p{{L}}-|\b(?:{_SOMEBODY}|\p{{L}}+['’]s name is){_OPENS})$", regex.IGNORECASE)


def _of_another(text: str, span: Span, quotes: list[Span]) -> bool:
    """Whether the mention owns something, is a part of another name, or names whom is spoken to, of or quoted."""
    if _OWNS.search(text[span[1] : span[1] + REACH]) or _OF_SOMEBODY.search(text[max(0, span[0] - REACH) : span[0]]):
        return True
    around = next((quote for quote in quotes if quote[0] <= span[0] and span[1] <= quote[1]), None)
    if around is None:
        return False
    said_before = _SAID.search(text[max(0, around[0] - 60) : around[0] - 1])
    return said_before is not None or _SAID_AFTER.match(text, around[1] + 1) is not None


_MADE = any_of("made | created | built | developed | trained | written | owned | founded | sent | served | named")
_TOWARDS = any_of("""
    looking for | about | know | knows | met | saw | assistant to | at | than | named after | called after | hate | say
    | hi to | hello to | ask | hate the name
""")
_SPOKEN_OF = regex.compile(
    rf"\b(?:{_MADE} by|work(?:s|ed|ing)? (?:for|with|at)|(?<!\bname )of|{_TOWARDS}"
    rf"|(?:a|an|the|my|his|her|our|your)(?: \p{{L}}+)? (?:called|named)){_OPENS}$",
    regex.IGNORECASE,
)
_GREETING = any_of("""
    hi | hello | hey | hi there | hello there | hey there | dear | thanks | thank you | welcome | bye | goodbye
    | good morning | good evening | good night | nice to meet you | pleased to meet you
""")
_GREETED = regex.compile(rf"\b{_GREETING},? $", regex.IGNORECASE)
_GOES_BY = any_of("is called | is named | heißt | s'appelle | se llama | si chiama")
_IS_NAMED = regex.compile(rf"\b{_GOES_BY}{_OPENS}$", regex.IGNORECASE)
_CLAUSE_ENDS = regex.compile(r"[\"'”’»)*_]*\s*(?:[.,;!?]|$)")
_PERSON_OR_THING = any_of("""
    friend | brother | sister | cat | dog | pet | boss | colleague | creator | maker | owner | neighbour | neighbor
    | teacher | father | mother | son | daughter | uncle | aunt | cousin | company | city | town | river | character
    | film | movie | book | song | brand
""")
_RELATION = regex.compile(
    rf"\b(?:my|his|her|our|their|an?|the)\s+(?:\p{{L}}+\s+){{0,2}}{_PERSON_OR_THING}\b", regex.IGNORECASE
)
_BE = any_of("is | was | are | were | means | meant | has | had | live | lives | like | likes | comes | refers")
_PREDICATE = regex.compile(rf"{_CLOSES}\s+{_BE}\b", regex.IGNORECASE)
_SELF_OR_LISTENER = any_of("""
    i | me | my | mine | myself | name | ai | bot | chatbot | model | helper | service | here | you | your | ready
    | glad | happy | speaking
""")
_OF_THE_SPEAKER = regex.compile(rf"\b(?:{_SELF_OR_LISTENER}|ass?ist\p{{L}}*|help\p{{L}}*)\b", regex.IGNORECASE)
_INTERROGATIVE = any_of("""
    who | what | where | which | why | when | how | is | are | was | do | does | did | have | has | can | wer | qui
    | quién | кто
""")
_ASKS = regex.compile(rf"^\W*{_INTERROGATIVE}\b", regex.IGNORECASE)
_ASKED = regex.compile(r"^[\"'”’»)*\s]*(?:[?？؟]|,\s*(?:who|what)(?:['’]s| is)\b)", regex.IGNORECASE)


def _is_talk_about(text: str, span: Span) -> bool:
    """Whether the sentence of a mention speaks of, to, or asks about, somebody or something of that name."""
    before, after = sentence_before(text, span), sentence_after(text, span)
    if _SPOKEN_OF.search(before) or _RELATION.search(f"{before} {after}"):
        return True
    if _GREETED.search(before) and _CLAUSE_ENDS.match(after):
        return True
    if (_PREDICATE.search(after) or _IS_NAMED.search(before)) and not _OF_THE_SPEAKER.search(before + after):
        return True
    asks = after.rstrip("\"'”’»)* ").endswith(("?", "？", "؟"))
    return (asks and _ASKS.search(before) is not None) or _ASKED.search(after) is not None
