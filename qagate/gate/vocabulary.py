"""The codes and spellings that mean the words of the MedIQA prompt (`models.prompt`). Tables only."""

from __future__ import annotations

from collections.abc import Mapping

CONTRAST_SUFFIX = " ce"  #: contrast enhanced

SNOMED_REGIONS: Mapping[str, str] = {
    "69536005": "head", "12738006": "head", "89546000": "head", "774007": "head", "661005": "head",
    "1101003": "head", "2095001": "head", "89545001": "head", "91397008": "head", "113305005": "head",
    "361078006": "head", "42575006": "head", "53620006": "head", "91609006": "head", "70925003": "head",
    "117590005": "head", "59066005": "head", "110517009": "head",
    "45048000": "neck", "69748006": "neck", "4596009": "neck", "54066008": "neck", "312535008": "neck",
    "421060004": "spine", "122494005": "spine", "122495006": "spine", "122496007": "spine",
    "54735007": "spine", "1217257000": "spine", "1217256009": "spine", "1217253001": "spine",
    "1217254007": "spine", "64688005": "spine", "2748008": "spine", "39723000": "spine",
    "51185008": "chest", "39607008": "chest", "816094009": "chest", "43799004": "chest",
    "113197003": "chest", "56873002": "chest", "72410000": "chest", "44567001": "chest", "955009": "chest",
    "80891009": "heart", "41801008": "heart", "87878005": "heart", "53085002": "heart",
    "76752008": "breast", "63762007": "breast", "73056007": "breast",
    "113345001": "abdomen", "10200004": "abdomen", "64033007": "abdomen", "15776009": "abdomen",
    "818981001": "abdomen", "818982008": "abdomen", "818987002": "abdomen", "416949008": "abdomen",
    "78961009": "abdomen", "69695003": "abdomen", "303270005": "abdomen", "28231008": "abdomen",
    "34707002": "abdomen", "30315005": "abdomen", "71854001": "abdomen",
    "12921003": "pelvis", "816092008": "pelvis", "816989007": "pelvis", "41216001": "pelvis",
    "89837001": "pelvis", "35039007": "pelvis", "34402009": "pelvis", "15497006": "pelvis",
    "22356005": "pelvis",
    "416550000": "trunk", "416775004": "trunk", "417437006": "trunk", "416152001": "trunk",
    "416319003": "trunk",
    "16982005": "shoulder", "79601000": "shoulder", "51299004": "shoulder", "85856004": "shoulder",
    "53120007": "arm", "40983000": "arm", "85050009": "arm", "16953009": "arm", "14975008": "arm",
    "85562004": "hand", "8205005": "hand", "74670003": "hand", "7569003": "hand", "76505004": "hand",
    "24136001": "hip", "29836001": "hip",
    "61685007": "leg", "68367000": "leg", "71341001": "leg", "30021000": "leg", "12611008": "leg",
    "87342007": "leg",
    "72696002": "knee", "64234005": "knee",
    "56459004": "foot", "70258002": "foot", "29707007": "foot", "27949001": "foot", "80144004": "foot",
    "81745001": "eye", "371398005": "eye", "5665001": "eye", "363654007": "eye",
    "15825003": "vessel", "7832008": "vessel", "113262008": "vessel", "69105007": "vessel",
    "59820001": "vessel",
    "38266002": "whole body",
}  # fmt: skip
"""SNOMED CT concept -> region, PS3.16 CID 4 (Anatomic Region)."""

SRT_REGIONS: Mapping[str, str] = {
    "T-D1100": "head", "T-A0100": "head", "T-11100": "head", "T-D1000": "head", "T-D1213": "head",
    "T-D1400": "head", "T-22000": "head", "T-D1200": "head", "T-11196": "head", "T-A6000": "head",
    "T-AB959": "head", "T-D1460": "head", "T-15290": "head", "T-11180": "head", "T-11170": "head",
    "T-AB001": "head", "T-11133": "head", "T-11011": "head",
    "T-D1600": "neck", "T-B6000": "neck", "T-24100": "neck", "T-55000": "neck", "T-20101": "neck",
    "T-D04FF": "spine", "T-11501": "spine", "T-11502": "spine", "T-11503": "spine", "T-11AD0": "spine",
    "T-11BF0": "spine", "T-A7010": "spine", "T-15680": "spine",
    "T-D3000": "chest", "T-28000": "chest", "T-D3200": "chest", "T-11300": "chest", "T-11210": "chest",
    "T-D3300": "chest", "T-25000": "chest", "T-26000": "chest",
    "T-32000": "heart", "T-43000": "heart", "T-32600": "heart", "T-32500": "heart",
    "T-04000": "breast", "T-04080": "breast", "T-04020": "breast",
    "T-D4000": "abdomen", "T-62000": "abdomen", "T-71000": "abdomen", "T-65000": "abdomen",
    "R-FAB57": "abdomen", "T-C3000": "abdomen", "T-57000": "abdomen", "T-50007": "abdomen",
    "T-63000": "abdomen", "T-60600": "abdomen", "T-58000": "abdomen", "T-59300": "abdomen",
    "T-D6000": "pelvis", "T-92000": "pelvis", "T-74000": "pelvis", "T-83000": "pelvis", "T-59600": "pelvis",
    "T-87000": "pelvis", "T-12340": "pelvis",
    "R-FAB55": "trunk", "R-FAB56": "trunk", "R-FAB52": "trunk", "R-FAB53": "trunk", "R-FAB54": "trunk",
    "T-D2220": "shoulder", "T-12280": "shoulder", "T-12310": "shoulder", "T-15420": "shoulder",
    "T-D8000": "arm", "T-D8200": "arm", "T-12410": "arm", "T-15430": "arm", "T-D8500": "arm",
    "T-D8700": "hand", "T-D8600": "hand", "T-15460": "hand", "T-D8800": "hand", "T-D8810": "hand",
    "T-15710": "hip", "T-D2500": "hip",
    "T-D9000": "leg", "T-D9100": "leg", "T-12710": "leg", "T-D9400": "leg", "T-12740": "leg",
    "T-12750": "leg",
    "T-D9200": "knee", "T-12730": "knee",
    "T-D9700": "foot", "T-15750": "foot", "T-D9800": "foot", "T-15770": "foot", "T-12770": "foot",
    "T-AA000": "eye", "T-D0801": "eye", "T-AA610": "eye", "T-D14AE": "eye",
    "T-42000": "vessel", "T-42500": "vessel", "T-42070": "vessel", "T-45010": "vessel", "T-40000": "vessel",
    "T-D0010": "whole body",
}  # fmt: skip
"""Legacy code (schemes SRT, SNM3, 99SDM) -> region, the retired SNOMED-RT values of the same concepts."""

BODY_PARTS: Mapping[str, str] = {
    "HEAD": "head", "BRAIN": "head", "SKULL": "head", "HEADNECK": "head", "SINUS": "head", "FACE": "head",
    "IAC": "head", "PITUITARY": "head", "TMJ": "head", "JAW": "head", "MANDIBLE": "head", "MAXILLA": "head",
    "ORBIT": "eye", "ORBITS": "eye", "EYE": "eye", "RETINA": "eye",
    "NECK": "neck", "LARYNX": "neck", "THYROID": "neck", "CSPINE": "spine", "TSPINE": "spine",
    "LSPINE": "spine", "TLSPINE": "spine", "CTSPINE": "spine", "LSSPINE": "spine", "SSPINE": "spine",
    "SPINE": "spine", "SACRUM": "spine", "COCCYX": "spine",
    "CHESTABDOMEN": "trunk", "CHESTABDPELVIS": "trunk", "CHESTABDOMENPELVIS": "trunk", "TAP": "trunk",
    "NECKCHEST": "trunk", "NECKCHESTABDOMEN": "trunk", "NECKCHESTABDPELV": "trunk", "TRUNK": "trunk",
    "CHEST": "chest", "THORAX": "chest", "LUNG": "chest", "RIB": "chest", "STERNUM": "chest",
    "HEART": "heart", "CARDIAC": "heart", "CORONARYARTERY": "heart", "BREAST": "breast",
    "ABDOMEN": "abdomen", "LIVER": "abdomen", "KIDNEY": "abdomen", "PANCREAS": "abdomen", "SPLEEN": "abdomen",
    "ABDOMENPELVIS": "abdomen", "UROGENITAL": "abdomen",
    "PELVIS": "pelvis", "PROSTATE": "pelvis", "BLADDER": "pelvis", "UTERUS": "pelvis", "RECTUM": "pelvis",
    "SHOULDER": "shoulder", "SCAPULA": "shoulder", "CLAVICLE": "shoulder", "ARM": "arm", "HUMERUS": "arm",
    "ELBOW": "arm", "FOREARM": "arm", "RADIUS": "arm", "ULNA": "arm", "HAND": "hand", "WRIST": "hand",
    "FINGER": "hand", "THUMB": "hand", "HIP": "hip", "LEG": "leg", "THIGH": "leg", "FEMUR": "leg",
    "TIBIA": "leg", "CALF": "leg", "KNEE": "knee", "PATELLA": "knee", "FOOT": "foot", "ANKLE": "foot",
    "TOE": "foot", "CALCANEUS": "foot", "WHOLEBODY": "whole body", "AORTA": "vessel", "CAROTID": "vessel",
}  # fmt: skip
"""BodyPartExamined (0018,0015), PS3.16 Annex L with vendors' spellings, blanks and signs removed."""

MERGED_REGIONS: Mapping[frozenset[str], str] = {
    frozenset(("abdomen", "pelvis")): "abdomen",
    frozenset(("chest", "abdomen")): "trunk",
    frozenset(("chest", "abdomen", "pelvis")): "trunk",
    frozenset(("neck", "chest")): "trunk",
    frozenset(("chest", "trunk")): "trunk",
    frozenset(("abdomen", "trunk")): "trunk",
    frozenset(("pelvis", "trunk")): "trunk",
    frozenset(("chest", "abdomen", "trunk")): "trunk",
    frozenset(("head", "neck")): "head",
    frozenset(("head", "eye")): "eye",
    frozenset(("neck", "spine")): "spine",
    frozenset(("chest", "spine")): "spine",
    frozenset(("chest", "heart")): "heart",
    frozenset(("chest", "breast")): "breast",
    frozenset(("pelvis", "hip")): "hip",
    frozenset(("leg", "knee")): "knee",
    frozenset(("arm", "hand")): "hand",
    frozenset(("arm", "shoulder")): "shoulder",
    frozenset(("leg", "foot")): "foot",
}
"""Regions that may be named together without a contradiction, and what they then mean."""

NO_REGION = frozenset({"PARTIALBODY", "EXTREMITY", "BODY", "OTHER", "UNKNOWN", "NONE", "PHANTOM", "SPECIAL"})
"""Body parts that name none."""

REGION_WORDS: Mapping[str, str] = {
    "head": r"head|brain|skull|cranium|cereb\w+|neuro\w*|sinus(es)?|iac|pituitary|kopf|sch(a|ae)del|gehirn"
    r"|nnh|hypophyse|tete|crane|encephal\w*|felsenbein",
    "neck": r"neck|larynx|thyroid|hals|schilddr(u|ue)se|cou",
    "spine": r"([ctl]|ls)? ?spine|cervical|lumbar|sacrum|[hbl]ws|wirbel\w*|rachis|lombaire|isg",
    "chest": r"chest|thorax|thoracic|thoracique|lungs?|lungen?|poumons?|pulmon\w*|hrct",
    "heart": r"heart|cardiac|cardio\w*|coronar\w*|herz|kardio\w*|koronar\w*|coeur|myokard",
    "breast": r"breasts?|mamma\w*|brust|seins?",
    "abdomen": r"abdom\w*|abd|liver|leber|foie|kidneys?|nieren?|pan[ck]reas|oberbauch|bauch|mrcp|milz"
    r"|spleen|hepat\w*|renal",
    "pelvis": r"pelvi\w*|becken|bassin|prostat\w*|bladder|harnblase|uterus|rectum|rektum",
    "trunk": r"(chest|thorax) ?(abdomen|abd)|tap|cap|ct ?tap",
    "shoulder": r"shoulder|schulter|epaule",
    "arm": r"elbow|ellen?bogen|coude|humerus|oberarm|unterarm|forearm|avant bras",
    "hand": r"hand|wrist|handgelenk|finger|poignet|doigt",
    "hip": r"hips?|h(u|ue)ft\w*|hanche",
    "leg": r"leg|thigh|femur|oberschenkel|unterschenkel|calf|jambe|cuisse|tibia",
    "knee": r"knee|knie\w*|genou",
    "foot": r"foot|ankle|fuss|sprunggelenk|osg|pied|cheville",
    "eye": r"eye|orbit\w*|auge|oeil|fundus|retina\w*",
    "vessel": r"aort\w*|carotid\w*|karotis|carotis",
    "whole body": r"whole ?body|ganzk(o|oe)rper|corps entier",
}
"""Region -> words of protocol and descriptions in English, German and French.

Texts are folded first: lower case, accents off, signs other than * to blanks. Whole words count.
"""

MR_WORDS: Mapping[str, str] = {
    "localizer": r"loc|locali[sz]er|scout|survey|lokali[sz]er|reperage|plan scan|smartbrain|3 ?plane",
    "adc": r"e?adc|apparent diffusion",
    "dwi": r"dwi|dti|diff|diffusion|tracew?|ep b\d+|b ?(800|1000)|resolve",
    "swi": r"swi|swan|swip|susceptibility|venobold",
    "perfusion": r"perf|perfusion|pwi|dsc|p?casl|asl|dce|r?cbf|r?cbv",
    "bold": r"bold|fmri|resting ?state",
    "angio": r"angio\w*|tof|(ce ?)?mra|mrv|venogra\w*|inhance|trance|twist|tricks",
    "flair": r"flair|dark ?fluid|fluid att\w*",
    "t2star": r"t2 ?(\*|star)w?|t2 ?(gre|ffe|hemo|fl2d)|hemo|medic|merge",
    "pd": r"pdw?|proton ?density|protonendichte|dp|densite de protons|pd ?(fs|fatsat|spair)",
    "t1": r"t1w?|m(em|e)?p ?rage|mprage\w*|bravo|f?spgr|vibe|lava|thrive|e?thrive|t1tfe",
    "t2": r"t2w?|haste|ciss|mrcp|stir|fiesta|trufi",
}
"""MR type -> words of protocol, description and sequence name, folded as above; strongest first."""

ACQUISITION_CONTRAST: Mapping[str, str] = {
    "T1": "t1", "T2": "t2", "T2_STAR": "t2star", "PROTON_DENSITY": "pd", "FLUID_ATTENUATED": "flair",
    "DIFFUSION": "dwi", "PERFUSION": "perfusion", "STIR": "t2", "TIME_OF_FLIGHT": "angio",
    "FLOW_ENCODED": "angio",
}  # fmt: skip
"""Acquisition Contrast (0008,9209), PS3.3 C.8.13.3.1.1 -> MR type."""

IMAGE_TYPES: Mapping[str, str] = {
    "LOCALIZER": "localizer", "ADC": "adc", "EADC": "adc", "DIFFUSION": "dwi", "TRACEW": "dwi",
    "SWI": "swi", "PERFUSION": "perfusion", "ASL": "perfusion", "FMRI": "bold", "TOF": "angio",
}  # fmt: skip
"""Values 3 and on of ImageType (0008,0008) -> MR type."""

CT_WORDS: Mapping[str, str] = {
    "localizer": r"topo|topogram\w*|scout|surview|scanogram|scano|localizer",
    "lung": r"lungs?|lunge|hrct|poumon",
    "bone": r"bone|knochen|osseux|felsenbein|petrous|dental",
    "soft": r"soft|soft tissue|std|standard|weichteil\w*|mediast\w*|parties molles",
}
"""CT type -> words of the series description."""

CT_KERNELS: Mapping[str, str] = {
    "lung": r"lung|l|yb|fc5[0-5]|bl\d\d.?",
    "bone": r"bone(plus)?\+?|edge|ya|fc3\d|[hj]r?[67]\d.?|hr[67]\d.?|u[67]\d.?",
    "soft": r"std\+?|stnd|standard|soft\+?|u[abc]|[abc]|fc(0[1-9]|1\d|2\d|4[0-4]|6[2-9])"
    r"|[bhj][rfcvk]?[1-4]\d.?|q[rb]\d\d.?|i[1-4]\d.?",
}
"""CT type -> ConvolutionKernel (0018,1210) of GE, Siemens, Philips and Canon, whole value, caseless."""

NO_CONTRAST = r"|no|none|n|n/?a|nil|0|ohne|nativ|sans|no contrast|without.*|unenhanced|non contrast"
"""ContrastBolusAgent (0018,0010) that means that there was none, whole value, folded."""
