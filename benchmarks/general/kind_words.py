"""Words that tell a prompt's kind, in several languages, written for this project."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "science": """atom molecule electron photon proton neutron quantum gravity velocity acceleration force energy heat
temperature pressure density entropy thermodynamics wavelength frequency refraction lens magnet voltage current circuit
capacitor transistor chemical reaction acid base pH titration oxidation catalyst enzyme protein DNA RNA gene genome CRISPR cell
membrane chromosome evolution species ecosystem predator photosynthesis chlorophyll bacteria fossil geology volcano earthquake
tide ocean climate greenhouse planet star galaxy telescope orbit moon comet black hole radiation nuclear fission fusion isotope
semiconductor solar engine turbine friction torque beam stress fluid vacuum incline pendulum rocket plant leaf insect metal""",
    "medicine": """symptom symptoms diagnosis treatment therapy dose dosage drug medication antibiotic vaccine infection fever cough
pain headache nausea rash allergy blood pressure pulse heart lung kidney liver stomach bowel skin bone fracture muscle nerve brain
stroke cancer tumour diabetes insulin asthma pneumonia flu cold virus pregnancy pregnant baby toddler swallowed patient doctor hospital
surgery anaesthesia recovery physiotherapy MRI scan x-ray biopsy cholesterol vitamin diet calories sleep insomnia depression
anxiety psychiatrist prescription pharmacy contraceptive pill dizzy vomiting appendicitis anemia thyroid dentist tooth injury wound""",
    "law": """law legal illegal lawyer attorney court judge jury trial lawsuit sue sued liability negligence tort contract clause breach
damages landlord tenant lease rent deposit eviction notice fired dismissal employer employment employee overtime severance will
inheritance heir estate trust divorce custody copyright patent trademark licence infringement police arrest search warrant crime
criminal murder manslaughter burglary fraud defendant plaintiff prosecution statute constitution amendment regulation GDPR privacy
immigration visa citizenship asylum tax evasion fine appeal jurisdiction arbitration estoppel consideration enforceable rights fence""",
    "business": """business company firm market marketing customer customers sales revenue profit margin cost price pricing budget cash flow
investment investor shares stock bond yield coupon dividend interest inflation central bank recession demand supply elasticity GDP
monopoly competition strategy startup founder valuation equity debt loan balance sheet accounting depreciation asset liability
ledger audit invoice VAT tax payroll churn retention subscription newsletter brand advertising franchise branch supplier inventory
logistics export import tariff exchange rate manager leadership hiring KPI forecast merger acquisition factoring leasing overheads""",
    "society": """society social sociology psychology psychologist behaviour cognition memory bias experiment personality attachment
adolescence motivation conformity obedience identity gender race class caste inequality poverty migration refugee population birth
rate demography urbanisation education school university teacher culture norms religion in society politics political party election vote
voting parliament congress senate president democracy dictatorship government policy bill ideology nationalism diplomacy treaty
NATO EU UN sanctions security geography region border development media public opinion stereotype prejudice welfare""",
    "humanities": """history historical war battle empire emperor king queen dynasty revolution medieval ancient Rome Greek Egypt renaissance
colonialism treaty peasants nobility plague crusade philosophy philosopher ethics moral morality utilitarian Kant Plato Aristotle
Nietzsche existence free will consciousness religion Buddhist Hindu Christian Islam theology Bible novel novelist poet poetry
literature narrator character symbolism tragedy Shakespeare painting painter sculpture baroque impressionism architecture music
composer symphony opera theatre film theory archaeology myth mythology linguistics etymology art Guernica realism""",
    "facts": """capital who invented who wrote who painted when was what year which country how many how tall how old highest longest
largest smallest population currency flag president of winner won world cup Olympic record actor singer band album movie released
founded born died discovered national anthem time zone located trivia quiz Nobel prize river mountain lake island desert building
planet moons players team season champion author of the director of the telephone inventor distance from""",
    "maths": """equation solve calculate compute sum product difference quotient fraction percent percentage ratio algebra polynomial quadratic
derivative differentiate integral integrate limit series converge matrix determinant eigenvalue vector probability dice cards
expected value variance standard deviation mean median combinatorics permutations combinations triangle circle radius circumference
area volume perimeter angle sine cosine logarithm exponent prime divisor remainder modulo proof prove theorem induction geometry
hypotenuse digits integer real number complex function inverse graph slope intercept per hour earns altogether total left each""",
    "reasoning": """puzzle riddle logic logical deduce deduction infer conclusion premise syllogism follows necessarily liar truth teller
knights knaves guard doors boxes labels mislabelled bridge torch river crossing wolf goat cabbage jug litre measure exactly sequence
next in the sequence pattern continue odd one out does not belong analogy is to as taller shorter older younger seated left of right
of who owns the house houses row schedule constraint arrangement possible trick question brain teaser weighing balance coins
statement true false which of the following must be true clock hands family relation mirror rotate""",
    "code": """code function method class variable loop array list dictionary string integer pointer null exception error bug debug compile
compiler syntax Python JavaScript TypeScript Java C++ Rust Go Kotlin Swift PHP Ruby bash shell script regex API REST HTTP JSON HTML CSS
grid flexbox React Vue Angular component hook async await promise thread mutex recursion algorithm binary search sort tree graph
stack queue hash complexity unit test docker kubernetes manifest yaml git library framework import module package npm pip segfault
memory leak stdin stdout implement program singleton closure decorator interface generic lambda template debounce handler""",
    "agentic_code": """repository repo codebase commit push pull request branch merge conflict rebase cherry-pick bisect diff patch CI pipeline
build fails failing test suite green red workflow GitHub Action Makefile lint linter refactor across files update all imports call
sites migrate migration monorepo packages upgrade dependency bump changelog release hotfix issue traceback in file stack trace
workspace terminal shell run the tests find the cause fix it and commit open a PR regression test module rename project wide
src/ tests/ app/ lib/ config logs deploy script reproduce the bug implement the endpoint serializer view url""",
    "tools": """tools tool functions function call available functions you can call get_weather search_web send_email send_sms create_event
book_flight set_alarm set_timer set_light play_music track_order cancel_order geocode convert_currency parameters properties type object
required string description name arguments remind me reminder calendar schedule meeting book reserve order look up and then save lights
thermostat alarm timer message text mum call API using the function via use the tool id city date amount to subject body""",
    "instructions": """exactly words sentences bullet points paragraphs lines no commas without using the letter all lowercase uppercase capital
letters only JSON valid JSON keys fields no other text nothing else answer yes or no one word begin with start each line end with must
contain at least twice keyword postscript sections titled separated by asterisks title in angular brackets placeholders numbered do
not use do not mention avoid limit under fewer than characters format strictly follow the format wrap quotation marks repeat first""",
    "data": """SQL query SELECT FROM WHERE JOIN GROUP BY ORDER BY index table column row database PostgreSQL MySQL SQLite Oracle schema CSV
spreadsheet Excel Google Sheets pivot VLOOKUP formula cell sum if pandas dataframe groupby merge missing values normalise clean data
dataset correlation aggregate average per month duplicates rank window function partition JSON XML convert extract fields entities
email addresses phone numbers dates names as a table markdown table records parse log lines classify reviews sentiment chart""",
    "writing": """write a story poem sonnet haiku limerick song lyrics novel chapter scene dialogue screenplay character plot fairy tale bedtime
essay introduction blog post article headline slogan tagline advert product description newsletter text speech toast eulogy letter
email cover letter resignation complaint invitation apology draft rewrite rephrase paraphrase proofread edit improve style tone
formal informal persuasive playful describe vividly metaphor opening line ending creative continue the story voice of""",
    "chat": """hi hello hey good morning good evening how are you thanks thank you please tell me a joke funny bored lonely sad happy tired
stressed feeling advice what should I do recommend suggestion film movie book podcast restaurant gift dinner cook recipe weekend
trip travel holiday date wedding wear outfit friend boyfriend girlfriend parents kids pet cat dog do you think favourite opinion
pretend you are role play wizard who are you haha lol ok and the other one what about procrastinating motivation hobby party""",
    "summaries": """summarise summarize summary tl;dr gist key points main points takeaways bullet summary condense shorten the text below
following text article passage paragraph document report transcript meeting minutes email thread context question answer from the
context according to the text based on the passage not stated abstract conclusion main idea what does the text say read the document
clause mentions excerpt quote evidence from the text long text in one sentence in two sentences overview digest""",
    "languages": """translate translation into English German French Spanish Italian Japanese Chinese Korean Arabic Portuguese how do you say in
what does mean in meaning of the word grammar conjugate verb tense plural singular article gender declension case subjunctive
pronounce pronunciation accent spelling vocabulary idiom expression native speaker natural sentence correct sentence difference
between words fewer less lie lay who whom preposition particle dialect bilingual phrase for thank you""",
}

FOREIGN_WORDS: dict[str, dict[str, str]] = {
    "de": {
        "science": "Atom Molekül Energie Kraft Licht Wellenlänge Reaktion Säure Zelle Gen Planet Stern Strom Spannung Regenbogen Pflanze",
        "medicine": "Arzt Symptome Fieber Schmerzen Tablette Dosis Krankheit Blutdruck Impfung Zecke Ausschlag Schwangerschaft Herz Behandlung",
        "law": "Gesetz Recht Anwalt Gericht Klage Vertrag Kündigung Kündigungsfrist Mietvertrag Mieter Vermieter Haftung Erbe Strafe",
        "business": "Unternehmen Umsatz Gewinn Kosten Preis Kunde Markt Zinsen Aktie Buchhaltung Steuer Betrieb Rechnung Marketing",
        "society": "Gesellschaft Psychologie Wahl Bundestag Bundesrat Regierung Partei Bildung Migration Bevölkerung Verhalten Politik",
        "humanities": "Geschichte Krieg Kaiser Republik Philosophie Ethik Roman Dichter Malerei Religion Mittelalter Weimarer Epoche",
        "facts": "Hauptstadt wer hat wann wurde wie hoch wie viele Einwohner größte längste Weltmeister erfunden liegt",
        "maths": "Gleichung berechne Ableitung Integral Wahrscheinlichkeit Dreieck Kreis Radius Fläche Prozent Summe beweise Wurzel",
        "reasoning": "Rätsel Logik logisch Wächter lügt Wahrheit Reihe Muster folgt älter größer Fluss überqueren Schachteln",
        "code": "Funktion Programm Klasse Schleife Datei einlesen Fehler Code programmieren Liste zeilenweise Skript",
        "agentic_code": "Repository Repo Commit Pipeline Build bricht ab Tests laufen Branch Merge Importe anpassen Korrektur Codebasis",
        "tools": "Funktionen Werkzeuge buche stelle sende erinnere mich Termin Flug Wecker Nachricht Kalender",
        "instructions": "genau Sätze Wörter ohne nur JSON Stichpunkte Großbuchstaben antworte ausschließlich",
        "data": "Tabelle Spalte SQL Abfrage Datenbank Excel CSV pro Monat Mittelwert sortiere auswerten",
        "writing": "Schreib Gedicht Geschichte Rede Brief Märchen Werbetext formuliere umschreiben Lied Hochzeit",
        "chat": "hallo na wie geht alles klar danke empfiehl kochen langweilig Witz Freund gestresst",
        "summaries": "fasse zusammen Zusammenfassung Protokoll Kernaussagen folgenden Text Bericht laut Text",
        "languages": "übersetze ins Englische Spanische Grammatik wie sagt man Satz Wort Bedeutung Mehrzahl",
    },
    "fr": {
        "science": "atome énergie lumière réaction cellule gène plante feuille planète étoile courant eau gravité",
        "medicine": "médecin symptômes fièvre douleur médicament dose maladie vaccin tension convalescence traitement grossesse",
        "law": "loi droit avocat tribunal contrat licenciement salarié employeur bail propriétaire locataire héritage heures",
        "business": "entreprise chiffre bénéfice prix coût client marché abonnement taux action comptabilité impôt",
        "society": "société psychologie élection président gouvernement parti éducation dissonance cognitive comportement population",
        "humanities": "histoire guerre révolution roi philosophie morale roman poète peinture réaliste religion Moyen Âge",
        "facts": "capitale qui a peint qui a écrit en quelle année combien hauteur plus grand inventé habitants",
        "maths": "équation calcule dérivée limite intégrale probabilité triangle cercle aire pourcentage somme démontre",
        "reasoning": "énigme logique devinette vérité ment suite plus grand que gardien déduire boîtes",
        "code": "fonction programme classe boucle fichier erreur code annuler tableau script",
        "agentic_code": "dépôt commit pipeline tests branche fusion corrige importations refactorise projet",
        "tools": "outils fonctions réserve envoie rappelle réveil vol message calendrier",
        "instructions": "exactement phrases mots sans uniquement JSON majuscules réponds chacune commençant",
        "data": "tableau colonne requête SQL base de données Excel CSV ventes par région trimestre croisé",
        "writing": "écris rédige poème nouvelle histoire discours lettre slogan chanson reformule",
        "chat": "salut bonjour ça va merci conseilles film soir blague ennuie ami cuisine",
        "summaries": "résume résumé points clés texte suivant rapport contexte selon le texte",
        "languages": "traduis en anglais allemand grammaire comment dit-on mot signifie phrase verbe",
    },
    "es": {
        "science": "átomo energía luz reacción célula gen planta planeta estrella fusión fisión nuclear gravedad agua",
        "medicine": "médico síntomas fiebre dolor medicamento dosis enfermedad vacuna mareo presión tratamiento embarazo",
        "law": "ley derecho abogado tribunal contrato despido alquiler herencia reclamar propietario multa demanda",
        "business": "empresa ventas beneficio precio coste cliente mercado flujo caja interés acción impuestos",
        "society": "sociedad psicología elecciones gobierno partido educación comportamiento población migración",
        "humanities": "historia guerra rey imperio filosofía moral novela poeta pintura cultura religión influencia medieval",
        "facts": "capital quién escribió en qué año cuántos altura más grande inventó habitantes llegó",
        "maths": "ecuación calcula derivada integral probabilidad triángulo círculo área porcentaje suma cuánto gasta litros",
        "reasoning": "acertijo lógica verdad miente secuencia izquierda derecha mayor que deducir cajas",
        "code": "función programa clase bucle archivo archivos carpeta error código lista script",
        "agentic_code": "repositorio commit pipeline pruebas rama fusionar corrige dependencias proyecto",
        "tools": "herramientas funciones reserva envía recuérdame alarma vuelo mensaje calendario",
        "instructions": "exactamente frases palabras sin solo únicamente JSON mayúsculas contesta responde nada más",
        "data": "tabla columna consulta SQL base de datos Excel CSV ventas por mes promedio",
        "writing": "escribe redacta poema cuento historia discurso carta eslogan letra canción",
        "chat": "hola qué tal gracias recomiendas película aburrido cuéntame chiste amigo cocinar",
        "summaries": "resume resumen puntos clave texto siguiente informe según el texto",
        "languages": "traduce al inglés francés alemán gramática cómo se dice palabra significa verbo",
    },
    "it": {
        "medicine": "medico sintomi febbre dolore dose malattia vaccino",
        "law": "legge avvocato tribunale contratto cittadinanza documenti affitto licenziamento",
        "business": "azienda fatturato profitto prezzo cliente mercato",
        "humanities": "storia guerra filosofia romanzo pittura",
        "facts": "capitale chi ha scritto in che anno quanti",
        "writing": "scrivi poesia racconto lettera",
        "chat": "ciao come stai grazie consigli",
        "languages": "traduci in inglese come si dice",
        "summaries": "riassumi riassunto testo seguente",
    },
    "pt": {
        "medicine": "médico sintomas febre dor dose doença vacina",
        "law": "lei advogado tribunal contrato aluguel direitos",
        "business": "empresa lucro preço cliente mercado faturamento",
        "facts": "capital quem escreveu em que ano quantos",
        "writing": "escreva poema conto carta",
        "chat": "oi tudo bem conta uma piada obrigado",
        "languages": "traduza para o inglês como se diz",
        "summaries": "resuma resumo texto seguinte",
    },
    "ru": {
        "science": "атом энергия свет реакция клетка ген планета звезда",
        "medicine": "врач симптомы температура боль лекарство доза болезнь прививка",
        "law": "закон суд адвокат договор штраф оспорить увольнение наследство права",
        "business": "компания прибыль цена клиент рынок налог",
        "society": "общество психология выборы правительство партия",
        "humanities": "история война революция философия роман писатель",
        "facts": "столица кто написал в каком году сколько самый",
        "maths": "уравнение вычисли производная интеграл вероятность площадь",
        "reasoning": "загадка логика правда лжёт",
        "code": "функция программа класс цикл код ошибка",
        "writing": "напиши сочини сказку рассказ стихотворение письмо",
        "chat": "привет как дела спасибо посоветуй скучно",
        "languages": "переведи на английский слово значит",
        "summaries": "кратко перескажи текст",
    },
    "ja": {
        "science": "原子 分子 エネルギー 光 反応 細胞 遺伝子 地震 プレート 惑星 星 電流 重力 植物",
        "medicine": "症状 薬 副作用 熱 咳 痛み 医者 病院 治療 花粉症 血圧 妊娠 眠くなる",
        "law": "法律 契約 弁護士 裁判 敷金 解雇 相続 権利 著作権",
        "business": "会社 売上 利益 価格 顧客 市場 金利 株 税金 経営",
        "society": "社会 少子化 人口 選挙 政治 政府 心理学 教育 原因",
        "humanities": "歴史 戦争 幕府 維新 哲学 倫理 小説 文学 絵画 宗教",
        "facts": "首都 一番高い 誰が 何年 いくつ 世界最大 発明",
        "maths": "方程式 計算 求めなさい 整数 和 微分 積分 確率 三角形 面積",
        "reasoning": "論理 パズル 嘘つき なぞなぞ 正直者 推理",
        "code": "関数 コード プログラム 辞書 ソート クラス 配列 エラー",
        "agentic_code": "リポジトリ コミット テスト 失敗 修正 ブランチ ビルド",
        "tools": "ツール 関数 送って セット 予約 調べて メール アラーム",
        "instructions": "必ず だけ 文字以内 使わないで JSON 箇条書き",
        "data": "表 列 SQL データベース 集計 CSV 平均",
        "writing": "詩 俳句 物語 小説を書いて 手紙 スピーチ 文章を書いて 作ってください",
        "chat": "こんにちは 元気 ありがとう おすすめ 退屈 冗談 夕食",
        "summaries": "要約 まとめて 次の記事 次の文章 本文 要点",
        "languages": "翻訳 英語に 訳して 文法 意味 発音 違い 単語",
    },
    "zh": {
        "science": "原子 分子 能量 光 反应 细胞 基因 地震 行星 黑洞 电流 重力 植物 形成",
        "medicine": "症状 药 副作用 发烧 咳嗽 疼痛 医生 医院 治疗 高血压 糖尿病 病人 饮食 疫苗",
        "law": "法律 合同 律师 法院 押金 解雇 继承 权利 版权",
        "business": "公司 销售 利润 价格 成本 边际 客户 市场 利率 股票 税",
        "society": "社会 人口 选举 政治 政府 心理学 教育 移民",
        "humanities": "历史 战争 皇帝 革命 哲学 伦理 小说 文学 绘画 宗教",
        "facts": "首都 最大 最高 谁 哪一年 多少 世界上 作者",
        "maths": "方程 计算 求 函数 导数 极值 积分 概率 三角形 面积 证明",
        "reasoning": "逻辑题 推理 谜语 说谎 真话 最矮",
        "code": "函数 代码 程序 单例 线程 类 数组 报错 编程",
        "agentic_code": "仓库 提交 测试 失败 修复 分支 构建 重构",
        "tools": "工具 函数 发送 设置 预订 查一下 邮件 闹钟",
        "instructions": "只用 不要 只返回 字以内 JSON 必须",
        "data": "表格 列 SQL 查询 数据库 统计 CSV 平均 每个部门",
        "writing": "写一首 诗 故事 小说 信 演讲 作文 文案",
        "chat": "你好 谢谢 推荐 无聊 笑话 压力 放松 晚饭",
        "summaries": "总结 概括 下面的文章 原文 要点 摘要",
        "languages": "翻译成 英文 法语 语法 意思 发音 区别",
    },
    "ko": {
        "science": "원자 에너지 세포 행성",
        "medicine": "증상 약 열 병원 치료",
        "law": "법 계약 변호사 보증금",
        "facts": "수도 가장 높은 세계에서 누가 몇 년",
        "maths": "방정식 계산 확률 넓이",
        "code": "함수 코드 프로그램",
        "writing": "시 소설 편지 써 주세요",
        "chat": "안녕 고마워 추천",
        "languages": "번역 영어로",
        "summaries": "요약",
    },
    "ar": {
        "science": "ذرة طاقة خلية كوكب",
        "medicine": "أعراض دواء مرض طبيب",
        "law": "قانون عقد محكمة محامي",
        "facts": "عاصمة أكبر من كتب متى",
        "maths": "معادلة احسب محيط دائرة مساحة",
        "code": "دالة برنامج كود",
        "writing": "اكتب قصيدة قصة رسالة",
        "chat": "مرحبا شكرا كيف حالك",
        "languages": "ترجم إلى الإنجليزية",
    },
}
