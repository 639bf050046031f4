"""Ranks by Horovod: started on Spark, watched, ended or brought back; under horovodrun they watch each other."""
