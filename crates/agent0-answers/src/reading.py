# Reading LaTeX faster: math-verify's parser tries its cheap way of predicting first.
#
# ANTLR's SLL prediction either finds the tree that its full LL prediction finds, or fails; LL looks at the whole context again each
# time and keeps nothing of what it found, which is most of the time that reading takes.
from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended import latex2sympy2


class Reader(latex2sympy2._Latex2Sympy):
    prediction = PredictionMode.SLL

    def create_parser(self, latex):
        parser = super().create_parser(latex)
        parser._interp.predictionMode = self.prediction
        return parser

    def parse(self, latex):
        try:
            return super().parse(latex)
        except Exception:
            self.prediction = PredictionMode.LL
            return super().parse(latex)


latex2sympy2._Latex2Sympy = Reader
