"""What a trained posterior is good for. Read in this order:

restore -> questions -> answers -> posterior -> figures -> tables -> report
"""
