"""Words that tell whether a full stop ends a sentence, in folded case: abbreviations, and what follows them."""


def _all_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


BEFORE_NAMES = _all_of("""
    dr mr mrs ms prof rev hon gen col sgt capt lt cpt maj gov sen rep pres st mt ft e.g i.e vs cf viz approx ca esp excl
    incl resp
    hr fr frl z.b d.h u.a
    mme mlle mm p.ex
    sr sra srta dra ud uds p.ej
    г ул им пл акад проф
    κ κος κα
""")
"""Abbreviations that always lead on to something."""

BEFORE_NUMBERS = _all_of("no nos nr ok num núm fig figs eq sec ch vol pp art § abb bd kap стр рис табл σελ αρ")
"""Abbreviations when a number follows."""

MAY_END = _all_of("inc ltd co corp jr bros llc др пр руб")
"""Abbreviations that a sentence may well end with: what is capitalised after them begins one."""

ABBREVIATIONS = MAY_END | _all_of("""
    al tsp tbsp oz lb lbs hrs est dept univ assn ave blvd rd jan feb apr jun jul aug sep sept oct nov dec ed eds ref
    refs fig figs
    bzw evtl ggf vgl inkl exkl str jh geb gest
    av env
    тыс млн млрд см
""")
"""Abbreviations that lead on unless a usual beginning of a sentence follows."""

CUT_SHORT = _all_of("etc etcetera usw")
"""What cuts a list short."""

GO_ON = _all_of("""
    and or but is are was were be been can could may might will would shall should must have has had do does did in on
    at for to from with without as which that who while because so if when than by into of also not make made
    und oder sind ist et ou y o
""")
"""Words with which a sentence goes on after a list that was cut short."""

AFTER_ORDINALS = _all_of("""
    januar februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts klasse stock platz auflage weltkrieg und bis
""")
"""What German puts after a number with a full stop, such as "3. Mai"."""

EXCLAIMED = _all_of("yahoo jeopardy")
"""Names that end with an exclamation mark."""

BEGINNINGS = _all_of("""
    the a an he she it its they their we our you your yours i my his her this that these those there here and but so or
    if in on at as for to from with when then while after before because what who where why how some many most all each
    no not yes one two three also however now once by of
    der die das ein eine er sie es wir ich ihr sein man und aber im am in dann
    le la les un une il elle ils elles nous vous je on ce cette et mais
    el los las una él ella ellos nosotros yo ese esta y pero
    он она оно они мы вы я это и а но в на о
    ο η το οι τα και είναι
""")
"""Words that, capitalised after an initial or an abbreviation, begin a sentence rather than a name."""
