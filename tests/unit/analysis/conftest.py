"""Small tables of every study, by hand: what the claims and the report are tested on."""

from __future__ import annotations

import io

import pandas as pd
import pytest


def table(text: str) -> pd.DataFrame:
    """From CSV, blanks around its cells for the eye."""
    return pd.read_csv(io.StringIO(text), skipinitialspace=True)


def with_interval(frame: pd.DataFrame, *names: str, width: float = 0.02) -> pd.DataFrame:
    """With the ends of an interval around each column named."""
    for name in names:
        frame[f"{name}_low"] = frame[name] - width
        frame[f"{name}_high"] = frame[name] + width
    return frame


def accuracy(*readers: tuple[str, float, float]) -> pd.DataFrame:
    """The accuracy of each reader at 256 and 512 symbols."""
    rows = [
        {"decipherer": reader, "length": length, "ciphers": 20, "token_accuracy": value}
        for reader, *values in readers
        for length, value in zip((256, 512), values, strict=True)
    ]
    return with_interval(pd.DataFrame(rows), "token_accuracy", width=0.01)


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Tables in which every claim is reached."""
    found = {
        "accuracy/accuracy": accuracy(("ngram", 0.99, 1.0), ("frequency", 0.2, 0.3)),
        "bayes/accuracy": accuracy(("frequency ranking", 0.4, 0.45), ("SMC, MAP key", 0.99, 1.0)),
        "bayes/regret": table(
            """decipherer,length,ciphers,regret,regret_low,regret_high,largest,bound,above
            SMC,256,30,89.7,89,90.4,93.2,93.137,0
            SMC,512,30,91.6,91,92,93.2,93.137,0"""
        ),
        "bayes/calibration": table(
            """decipherer,length,accuracy,confidence,ece,ece_low,ece_high,ece_noise,score
            smc,256,0.99,0.98,0.010,0.005,0.02,0.012,-0.1
            smc,512,1,0.999,0.001,0,0.002,0.002,-0.0001"""
        ),
        "bayes/sbc": table(
            """decipherer,quantity,replications,low,high,count,band_low,band_high,p_value
            "SMC, V = 6",rarest symbol,100,0,0.5,52,40,60,0.4
            "SMC, V = 6",rarest symbol,100,0.5,1,48,40,60,0.4
            "SMC, V = 6",log likelihood,100,0,0.5,45,40,60,0.2
            "SMC, V = 6",log likelihood,100,0.5,1,55,40,60,0.2"""
        ),
        "bayes/certificates": table(
            """length,ciphers,certified_rate,gap
            256,30,1,
            512,30,0.9,3.5"""
        ),
        "convergence/contexts": table(
            """source,series,size,method,context,mean_gap,mean_gap_bound,regret_bits,bound_bits,above
            d = 3,size,3,enumeration,16,0.30,0.47,2.0,2.585,0
            d = 3,size,3,enumeration,256,0.02,0.12,2.5,2.585,0
            d = 27,size,27,smc,256,0.25,0.71,92.0,93.137,1
            order 0,kind,6,enumeration,256,0.10,0.22,9.0,9.49,0"""
        ),
        "convergence/exponents": with_interval(
            table(
                """quantity,along,at,exponent,bound_exponent
                mean L1 gap,n,d = 3,-0.94,-0.5
                mean L1 gap,n,d = 27,-0.56,-0.5
                mean L1 gap,n,all,-0.84,-0.5
                mean L1 gap,d,all,0.80,0.81
                cumulative KL,n,all,0.13,0
                cumulative KL,d,all,1.48,1.61"""
            ),
            "exponent",
        ),
        "perplexity/contexts": with_interval(
            table(
                """model,kind,context,texts,bits,gap,regret_bits,bound
                standard,standard,32,8,1.7,0,0,93.137
                standard,standard,512,8,1.7,0,0,93.137
                lexinvariant,lexinvariant,32,8,4.1,4.1,50,93.137
                lexinvariant,lexinvariant,256,8,2.3,0.5,80,93.137
                lexinvariant,lexinvariant,512,8,2.1,0.3,90,93.137
                Bayes mixture,mixture,512,2,1.9,0.2,88,93.137"""
            ),
            "bits",
            "gap",
            "regret_bits",
        ),
        "perplexity/bands": table(
            """model,kind,first,last,gap
            lexinvariant,lexinvariant,7,8,6.5
            lexinvariant,lexinvariant,385,512,0.3"""
        ),
        "perplexity/positions": table("model,position\nstandard,1"),
        "probes/accuracy": accuracy(
            ("linear, lexinvariant", 0.97, 0.995),
            ("frequency ranking", 0.40, 0.45),
            ("SMC, posterior decoding", 1.0, 1.0),
        ),
        "probes/controls": with_interval(
            table(
                """control,model,layer,accuracy,late,chance
                trained weights,lexinvariant,12,0.87,0.98,0.19
                symbol vectors alone,lexinvariant,0,0.13,0.13,0.19
                untrained weights,lexinvariant,12,0.12,0.12,0.19
                shuffled labels,lexinvariant,12,0.191,0.19,0.19
                control task,lexinvariant,12,0.038,0.04,0.037"""
            ),
            "accuracy",
            "late",
            width=0.004,
        ),
        "probes/selectivity": table("probe,accuracy,control,selectivity\nlinear,0.88,0.09,0.79"),
        "probes/layers": table(
            """model,layer,first,last,accuracy,appears
            lexinvariant,0,257,512,0.13,False
            lexinvariant,1,257,512,0.60,True
            lexinvariant,2,257,512,0.98,False
            standard,0,257,512,0.13,False"""
        ),
        "probes/counts": table(
            """decipherer,first,last,accuracy
            "linear, lexinvariant",1,1,0.18
            "linear, lexinvariant",65,128,0.99"""
        ),
        "probes/confusion": table("decipherer,truth,read\nlinear,a,i"),
        "probes/pairs": table(
            """decipherer,length,truth,read,share
            "linear, lexinvariant",64,a,i,0.146
            "linear, lexinvariant",64,d,s,0.159"""
        ),
        "implicit/synthetic": table("language,reader\nV = 4,transformer"),
        "implicit/synthetic-doublings": with_interval(
            table(
                """language,quantity,against,reader,first,last,kl_nats
                V = 4,next symbol,exact mixture,transformer,33,64,0.020
                V = 4,next symbol,exact mixture,transformer,65,128,0.003
                V = 6,next symbol,exact mixture,transformer,33,64,0.090
                V = 6,next symbol,exact mixture,transformer,65,128,0.015
                V = 6,meaning,exact mixture,linear probe,65,128,0.060"""
            ),
            "kl_nats",
            width=0.001,
        ),
        "implicit/english": table("language,reader\nEnglish,lexinvariant"),
        "implicit/english-doublings": with_interval(
            table(
                """language,quantity,against,reader,first,last,kl_nats
                English,next symbol,Bayes mixture,lexinvariant,1,256,0.6
                English,next symbol,Bayes mixture,lexinvariant,257,512,0.30
                English,next symbol,5-gram,standard,1,256,0.3
                English,next symbol,5-gram,standard,257,512,0.32"""
            ),
            "kl_nats",
        ),
        "implicit/regret": table(
            """model,last,regret_bits
            lexinvariant,1,0.5
            lexinvariant,512,90"""
        ),
        "reasoning/accuracy": table("model,task\nstandard,LookUp"),
        "reasoning/summary": table(
            """model,task,exact,token,exact_ratio,exact_ratio_low,exact_ratio_high,guess_exact
            standard,LookUp,0.10,0.10,1,1,1,0.23
            standard,Permutation,0.05,0.10,1,1,1,0.24
            standard,average,0.08,0.10,1,1,1,0.23
            lexinvariant,LookUp,0.40,0.40,4.0,3.5,4.5,0.23
            lexinvariant,Permutation,0.20,0.30,4.0,3.0,5.0,0.24
            lexinvariant,average,0.30,0.35,4.0,3.4,4.6,0.23"""
        ),
        "regularisation/regularisation": table("model,p\na,0"),
        "regularisation/summary": table(
            """model,p,reading,bits,lookup,permutation,cipher_bits,typo_bits
            a,0,learned,1.80,0.10,0.01,4.0,2.5
            b,0.5,learned,1.79,0.30,0.01,3.5,2.5
            c,0.75,learned,1.95,0.40,0.01,3.4,2.5
            d,1,fresh,2.30,0.40,0.01,2.5,2.6"""
        ),
    }
    found["reasoning/summary"] = with_interval(found["reasoning/summary"], "exact")
    return found | {"regularisation/summary": with_changes(found["regularisation/summary"])}


def with_changes(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of the regularisation with its changes from p = 0."""
    names = ["bits", "lookup", "permutation", "cipher_bits", "typo_bits"]
    for name in names:
        summary[f"{name}_change"] = summary[name] - summary[name].iloc[0]
    return with_interval(summary, *names, *(f"{name}_change" for name in names))
