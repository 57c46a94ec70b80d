"""Sentences of many languages with the legacy encodings their pages were written in."""

SENTENCES: dict[str, tuple[tuple[str, ...], str]] = {
    "french": (
        ("windows-1252", "iso-8859-1", "iso-8859-15"),
        "Le théorème énonce que toute suite bornée de réels possède une sous-suite convergente. "
        "La démonstration procède par dichotomie : on découpe l'intervalle où se trouvent les "
        "termes, puis on répète l'opération à l'infini. L'élève vérifiera que la limite existe.",
    ),
    "german": (
        ("windows-1252", "iso-8859-1"),
        "Die Ableitung einer differenzierbaren Funktion läßt sich häufig mit der Kettenregel "
        "bestimmen. Für genügend kleine Änderungen gilt näherungsweise die lineare Beziehung. "
        "Daraus ergibt sich für größere Abstände eine Abschätzung des Fehlers.",
    ),
    "spanish": (
        ("windows-1252", "iso-8859-1"),
        "La ecuación de segundo grado tiene dos soluciones cuando el discriminante es positivo. "
        "¿Cuál es el área del triángulo? El niño dibujó una línea recta y midió el ángulo con "
        "precisión. También se puede demostrar la fórmula de otra manera más rápida.",
    ),
    "portuguese": (
        ("windows-1252", "iso-8859-1"),
        "A função é contínua no intervalo fechado, portanto não há dúvida de que atinge um "
        "máximo. A demonstração usa a compacidade e uma sucessão de valores. As questões "
        "seguintes são exercícios que estão no fim da lição.",
    ),
    "polish": (
        ("windows-1250", "iso-8859-2"),
        "Każdy ciąg ograniczony zawiera podciąg zbieżny. Twierdzenie to można udowodnić, dzieląc "
        "przedział na połowy. Następnie należy sprawdzić, czy granica istnieje i czy jest "
        "jednoznacznie określona. Uczniowie często mylą się właśnie w tym miejscu.",
    ),
    "czech": (
        ("windows-1250", "iso-8859-2"),
        "Každá omezená posloupnost má konvergentní podposloupnost. Důkaz této věty je založen na "
        "půlení intervalu. Příklady na toto téma najdete v následující kapitole, řešení úloh je "
        "uvedeno na konci knihy. Žáci by měli výsledek ověřit výpočtem.",
    ),
    "hungarian": (
        ("windows-1250", "iso-8859-2"),
        "Minden korlátos sorozatnak van konvergens részsorozata. A bizonyítás során az "
        "intervallumot felezzük, majd a műveletet ismételjük. A következő példák megoldását a "
        "könyv végén találja az olvasó, ahol a szükséges képletek is szerepelnek. Őszintén "
        "szólva ez a tétel nem túl nehéz, de fontos a jövőre nézve.",
    ),
    "russian": (
        ("windows-1251", "koi8-r", "iso-8859-5"),
        "Всякая ограниченная последовательность содержит сходящуюся подпоследовательность. "
        "Доказательство этой теоремы проводится методом деления отрезка пополам. Проверьте, что "
        "предел существует и единственный. Задачи для самостоятельного решения приведены ниже.",
    ),
    "ukrainian": (
        ("windows-1251", "koi8-u"),
        "Кожна обмежена послідовність містить збіжну підпослідовність. Доведення цієї теореми "
        "ґрунтується на поділі відрізка навпіл. Перевірте, що границя існує і є єдиною. Її "
        "значення не залежить від вибору точок.",
    ),
    "bulgarian": (
        ("windows-1251",),
        "Всяка ограничена редица съдържа сходяща подредица. Доказателството на тази теорема се "
        "основава на делене на интервала на две. Проверете, че границата съществува и е "
        "единствена. Задачите за самостоятелна работа са дадени по-долу.",
    ),
    "greek": (
        ("windows-1253", "iso-8859-7"),
        "Κάθε φραγμένη ακολουθία έχει μια συγκλίνουσα υπακολουθία. Η απόδειξη του θεωρήματος "
        "βασίζεται στη διχοτόμηση του διαστήματος. Να εξετάσετε αν το όριο υπάρχει και αν είναι "
        "μοναδικό. Οι ασκήσεις βρίσκονται στο τέλος του κεφαλαίου.",
    ),
    "turkish": (
        ("windows-1254", "iso-8859-9"),
        "Her sınırlı dizinin yakınsak bir alt dizisi vardır. Bu teoremin ispatı aralığın ikiye "
        "bölünmesine dayanır. Limitin var olduğunu ve tek olduğunu gösteriniz. Öğrenciler bu "
        "soruyu çözerken genellikle işaret hatası yapıyorlar. Şimdi örneğe geçelim.",
    ),
    "hebrew": (
        ("windows-1255", "iso-8859-8"),
        "לכל סדרה חסומה יש תת סדרה מתכנסת. ההוכחה של המשפט מבוססת על חצייה של הקטע שבו נמצאים "
        "איברי הסדרה. בדקו שהגבול קיים ושהוא יחיד. התרגילים נמצאים בסוף הפרק.",
    ),
    "arabic": (
        ("windows-1256", "iso-8859-6"),
        "كل متتالية محدودة لها متتالية جزئية متقاربة. يعتمد برهان هذه النظرية على تقسيم الفترة "
        "إلى نصفين. تحقق من أن النهاية موجودة وأنها وحيدة. التمارين موجودة في نهاية الفصل.",
    ),
    "lithuanian": (
        ("windows-1257", "iso-8859-13"),
        "Kiekviena aprėžta seka turi konverguojantį posekį. Šios teoremos įrodymas remiasi "
        "intervalo dalijimu pusiau. Patikrinkite, kad riba egzistuoja ir yra vienintelė. "
        "Uždaviniai savarankiškam darbui pateikti žemiau, o jų sprendimai knygos gale.",
    ),
    "vietnamese": (
        ("windows-1258",),
        "Hàm số này liên tục trên đoạn, do đó có giá trị lớn nhất. Chúng ta cần chứng minh "
        "giới hạn tồn tại và là duy nhất.",
    ),
    "thai": (
        ("tis-620", "windows-874"),
        "ลำดับที่มีขอบเขตทุกลำดับมีลำดับย่อยที่ลู่เข้า การพิสูจน์ทฤษฎีบทนี้ใช้การแบ่งช่วงออกเป็นสองส่วน "
        "จงตรวจสอบว่าลิมิตมีอยู่จริงและมีเพียงค่าเดียว แบบฝึกหัดอยู่ท้ายบท",
    ),
    "japanese": (
        ("shift_jis", "euc-jp", "iso-2022-jp"),
        "有界な数列は必ず収束する部分列をもつ。この定理の証明は区間を二等分する方法による。極限が"
        "存在し、ただ一つであることを確かめよ。練習問題の解答は本の最後にあります。",
    ),
    "korean": (
        ("euc-kr", "cp949"),
        "유계인 수열은 반드시 수렴하는 부분수열을 가진다. 이 정리의 증명은 구간을 이등분하는 방법에 "
        "바탕을 둔다. 극한이 존재하고 유일함을 확인하시오. 연습 문제의 풀이는 책 뒤에 있다.",
    ),
    "simplified chinese": (
        ("gb2312", "gbk", "gb18030"),
        "任何有界数列都有收敛的子列。这个定理的证明采用二分区间的方法。请验证极限存在并且唯一。"
        "练习题的解答在本书的最后。学生们经常在这里犯错误，所以要特别注意符号。",
    ),
    "traditional chinese": (
        ("big5",),
        "任何有界數列都有收斂的子列。這個定理的證明採用二分區間的方法。請驗證極限存在並且唯一。"
        "練習題的解答在本書的最後。學生們經常在這裡犯錯誤，所以要特別注意符號。",
    ),
}
