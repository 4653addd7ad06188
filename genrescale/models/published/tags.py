"""The tags of published models, in the order of their outputs and spelled as in their data sets.

Evidence for each order. ``mtat`` is musicnn's order: the rows of the output layers of Won's checkpoints resemble each
other as the labels of MagnaTagATune co-occur (correlation 0.81 for fcn, 0.74 for musicnn; 0.05 in alphabetical order;
tested). ``jamendo`` is sorted, because Won trained with scikit-learn's LabelBinarizer, which sorts. ``msd`` is the
order of the split's list of 50 tags; no checkpoint was available to test it.
"""

from __future__ import annotations

_MTAT = """
guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, violin, vocal, synth,
female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, quiet, flute, woman, male vocal, no vocal,
pop, soft, sitar, solo, man, classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello,
no voice, weird, country, metal, female voice, choral
"""
_MSD = """
rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, beautiful, metal,
chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk, 90s, chill, instrumental,
punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, party, country,
easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock, 60s, rnb, indie pop, sad, House, happy
"""
_JAMENDO = """
genre---alternative, genre---ambient, genre---atmospheric, genre---chillout, genre---classical, genre---dance,
genre---downtempo, genre---easylistening, genre---electronic, genre---experimental, genre---folk, genre---funk,
genre---hiphop, genre---house, genre---indie, genre---instrumentalpop, genre---jazz, genre---lounge, genre---metal,
genre---newage, genre---orchestral, genre---pop, genre---popfolk, genre---poprock, genre---reggae, genre---rock,
genre---soundtrack, genre---techno, genre---trance, genre---triphop, genre---world, instrument---acousticguitar,
instrument---bass, instrument---computer, instrument---drummachine, instrument---drums, instrument---electricguitar,
instrument---electricpiano, instrument---guitar, instrument---keyboard, instrument---piano, instrument---strings,
instrument---synthesizer, instrument---violin, instrument---voice, mood/theme---emotional, mood/theme---energetic,
mood/theme---film, mood/theme---happy, mood/theme---relaxing
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()).split(", "))


PUBLISHED_TAGS: dict[str, tuple[str, ...]] = {
    "mtat": _names(_MTAT),
    "msd": _names(_MSD),
    "jamendo": _names(_JAMENDO),
}
