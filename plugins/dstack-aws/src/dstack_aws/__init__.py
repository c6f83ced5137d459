"""dstack in an AWS account: artifact store in S3, secret store in Secrets Manager.

Nothing here imports botocore before it is used: commands that touch no AWS start without it.
"""
